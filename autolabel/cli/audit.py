"""`autolabel audit`: what the labels are worth, by the stage and, with `--ask`, by the answers of a person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autolabel.cli.options import echo, open_project, print_json
from autolabel.cli.review import browser_option, open_review_set, port_option, serve, show_address
from autolabel.cli.run import STAGE_HELP, stage_command
from autolabel.progress import print_err
from autolabel.store import Journal, hold_lock

if TYPE_CHECKING:
    from autolabel.audit.spot_check import SpotResult


def spot_check(
    experiment: Path,
    work: Path | None,
    overrides: tuple[str, ...],
    *,
    ask: int,
    author: str,
    port: int,
    no_browser: bool,
    as_json: bool,
) -> None:
    """Ask in the browser, and print what all answers say of the label set."""
    from autolabel.review.server import require_server
    from autolabel.review.session import cells_of, review_folder
    from autolabel.review.spot_check import SpotCheck, answers_file
    from autolabel.review.spot_page import SpotPage

    if ask:
        require_server()
    project = open_project(experiment, work=work, overrides=overrides)
    images, right = open_review_set(project)
    file = answers_file(project.work, images.codes.digest)
    with hold_lock(file.with_suffix(".lock")):
        index = cells_of(images, review_folder(project.work, images.labels.digest), check=lambda: None)
        check = SpotCheck(images, index, right, Journal(file), author=author)
        if ask:
            page = SpotPage(check, project.experiment.name, ask)
            show = _show_beside if as_json else show_address
            serve(page.routes(), port, no_browser=no_browser, show=show)
        result = check.result()
    if as_json:
        print_json({"spot_check": result})
        return
    for line in _lines(result):
        echo(line)


def _show_beside(address: str) -> None:
    """On stderr: stdout has one JSON object, the figures."""
    print_err(f"autolabel: open {address}  (Ctrl-C ends it)")


def _lines(spot: SpotResult) -> list[str]:
    def between(row: Any) -> str:
        return f"95 %: {_percent(row['low'])} to {_percent(row['high'])}, {row['answers']} answers"

    if spot["accuracy"] is None:
        return ["no question is answered yet; `--ask 200` asks 200"]
    uniform = f" (drawn evenly it would take {spot['uniform']})"
    lines = [f"{_percent(spot['accuracy'])} of the labelled pixels are right; {between(spot)}{uniform}"]
    for name, row in spot["classes"].items():
        lines.append(f"  {name:12} " + ("no answer" if row["accuracy"] is None else between(row)))
    return [*lines, *spot["advice"]]


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f} %"


def _audit_command() -> click.Command:
    """The command of the stage, with the options of a spot check."""
    stage = stage_command("audit", STAGE_HELP["audit"] + " With --ask: estimate how many labelled pixels are right.")
    assert stage.callback is not None
    measure = stage.callback

    @click.option(
        "--ask",
        type=click.IntRange(0, 10_000),
        help="Ask so many questions about single pixels in the browser, end with Ctrl-C; 0 = show the figures so far.",
    )
    @click.option("--by", "author", default="", help="With --ask: name of the person, kept with each answer.")
    @port_option
    @browser_option
    def command(ask: int | None, author: str, port: int, no_browser: bool, **rest: Any) -> None:
        if ask is None:
            measure(**rest)
            return
        place = {name: rest[name] for name in ("experiment", "work", "overrides", "as_json")}
        spot_check(**place, ask=ask, author=author, port=port, no_browser=no_browser)

    own = click.command("audit", help=stage.help)(command)
    own.params = [*stage.params, *own.params]
    return own


COMMANDS = [_audit_command()]
