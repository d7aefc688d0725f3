"""The command line: a command opens, calls one function, prints. Torch is imported only by commands that compute."""

from __future__ import annotations

import signal
from importlib import import_module


def main() -> None:
    """Entry point of the console script. Ctrl-C during the import ends it at once, without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background job of a shell ignores SIGINT
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        command = import_module("autolabel.cli.main")
        signal.signal(signal.SIGINT, signal.default_int_handler)
    else:
        command = import_module("autolabel.cli.main")
    command.main()


__all__ = ["main"]
