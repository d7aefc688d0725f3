"""The table of commands: the module of each, imported once the command is used."""

from __future__ import annotations

from importlib import import_module

import click

_STAGES = ("manifest", "teacher", "infer", "label", "compare", "fuse", "student", "evaluate", "report", "table")
# Module below autolabel.cli -> the commands in its COMMANDS, in the order of `--help`.
MODULES: dict[str, tuple[str, ...]] = {
    "demo": ("demo",),
    "doctor": ("doctor",),
    "init": ("init",),
    "check_data": ("check-data",),
    "run": ("run", *_STAGES),
    "status": ("status", "gc"),
    "verify": ("verify",),
    "repair": ("repair",),
    "open_report": ("open",),
    "predict": ("predict",),
    "cut": ("cut",),
    "thresholds": ("thresholds",),
    "why": ("why",),
    "diff": ("diff",),
    "review": ("review",),
    "audit": ("audit",),
    "next_images": ("next",),
    "fetch": ("fetch",),
    "import_weights": ("import-weights",),
    "import_labels": ("import",),
    "export": ("export",),
    "corrections": ("corrections",),
    "cost": ("cost",),
    "schema": ("schema",),
}
# Modules that add subcommands to a group of another module.
ADDED_TO = {"export": "export_labels"}


def command(name: str) -> click.Command | None:
    """The command of this name; None if there is none."""
    module = next((module for module, names in MODULES.items() if name in names), None)
    if module is None:
        return None
    if module in ADDED_TO:
        import_module(f"autolabel.cli.{ADDED_TO[module]}")
    found: list[click.Command] = import_module(f"autolabel.cli.{module}").COMMANDS
    return next(one for one in found if one.name == name)
