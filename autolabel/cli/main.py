"""The `autolabel` command: its groups of subcommands, and the one place where errors become exit codes."""

from __future__ import annotations

import atexit
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from autolabel import __version__
from autolabel.cli.commands import MODULES, command
from autolabel.errors import AlreadyReported, AutolabelError, naming_settings
from autolabel.hardware import allow_mps_fallback, limit_openmp_spin, require_addresses, return_freed_tables
from autolabel.offline import follow_parent, go_offline
from autolabel.progress import print_err
from autolabel.signals import Stopped


class WrongUsage(click.ClickException):
    """An error of click about options and arguments, in one line like every other error."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        print_err(f"autolabel: {self.message}")


@contextmanager
def usage_in_one_line() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "autolabel"
        what = " ".join(error.format_message().split()).rstrip(".")
        raise WrongUsage(f"{what}; see `{command} --help`") from error


_OUT_OF_MEMORY = "autolabel: out of memory; use smaller images, crops, scales or batches, infer.window, or fewer --jobs"
# How torch and Python say that memory or threads are used up, all of it in RuntimeErrors.
_ALLOCATION_FAILURES = ("can't allocate memory", "not enough memory", "can't start new thread")


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    try:
        yield
    except AutolabelError as error:
        print_err(f"autolabel: {error}")
        code = error.exit_code
    except AlreadyReported as told:
        code = told.exit_code
    except Stopped as stop:
        print_err(f"autolabel: {stop}; run the same command again to go on")
        code = 128 + stop.signum
    except KeyboardInterrupt:  # in a command that does not catch signals: predict, cut, status
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one ends it at once
        print_err("autolabel: stopped by SIGINT")
        code = 128 + signal.SIGINT
    except BrokenPipeError:  # `autolabel ... | head`: the reader has closed the pipe; this is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        print_err(f"autolabel: {AutolabelError(error.filename or 'input/output', error.strerror or str(error))}")
        code = 1
    except ImportError as error:
        what = str(error).splitlines()[0]
        print_err(f"autolabel: a library cannot be loaded: {what}; free some memory, or install it again")
        code = 1
    except MemoryError:
        print_err(_OUT_OF_MEMORY)
        code = 1
    except RuntimeError as error:
        if not any(phrase in str(error) for phrase in _ALLOCATION_FAILURES):
            raise
        print_err(_OUT_OF_MEMORY)
        code = 1
    else:
        return
    raise click.exceptions.Exit(code)


class ErrorsToExitCodes(click.Group):
    """Every expected error ends in one line on stderr and an exit code; a traceback is a bug.

    The module of a command is imported when it is asked for: `status` does not wait for the libraries of `predict`.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(name for names in MODULES.values() for name in names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.commands.get(cmd_name) or command(cmd_name)

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **options: Any) -> click.Context:
        with errors_to_exit_codes(), usage_in_one_line():
            if any("\0" in arg for arg in args):  # no shell passes it
                raise click.UsageError("an argument holds a NUL character")
            return super().make_context(info_name, args, *rest, **options)

    def invoke(self, ctx: click.Context) -> Any:
        def option(setting: str) -> str:
            called = self.get_command(ctx, ctx.invoked_subcommand or "")
            params = called.params if called else []
            return {param.name: param.opts[-1] for param in params}.get(setting, setting)

        with errors_to_exit_codes(), naming_settings(option), usage_in_one_line():
            require_addresses()
            _require_current_folder()
            return super().invoke(ctx)


def _require_current_folder() -> None:
    """AutolabelError where the current folder was deleted: torch ends the process then, with a line that misleads."""
    try:
        Path.cwd()
    except OSError as error:
        raise AutolabelError("the current folder", "is no longer there", "change to another folder") from error


@click.group(cls=ErrorsToExitCodes, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="autolabel")
@click.option("--offline", is_flag=True, help="Refuse connections beyond this machine.")
def cli(offline: bool) -> None:
    """Teacher-student auto-labelling for semantic segmentation.

    Start with `autolabel demo`; then `autolabel init --source folder --root DIR` for your own images.
    """
    logging.captureWarnings(True)
    if offline:
        go_offline()


def main() -> NoReturn:
    """Entry point of the console script.

    The process ends with the command and what libraries have registered for its end, but without the interpreter's own:
    threads of libraries (torch.distributed's, Arrow's) may still be at work then, and abort it after all.
    """
    limit_openmp_spin()
    return_freed_tables()
    allow_mps_fallback()
    follow_parent()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold bytes that are no text
    code: object = 1
    try:
        cli()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 1)
