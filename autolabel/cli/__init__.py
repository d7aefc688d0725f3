"""The command line: a command opens, calls one function, prints. Torch is imported only by commands that compute."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module


def main() -> None:
    """Entry point of the console script. Ctrl-C during the import ends it at once, without a traceback."""
    _open_closed_streams()
    try:
        _imported_main()
    except (ImportError, MemoryError) as error:  # such as a library that does not fit into `ulimit -v`
        what = str(error).splitlines()[0] if str(error) else "out of memory"
        print(f"autolabel: a library cannot be loaded: {what}; free some memory, or install it again", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)


def _open_closed_streams() -> None:
    """Open standard streams that the caller has closed (`>&-`): the next file that is opened would take their place."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115  # for the life of the process


def _imported_main() -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background job of a shell ignores SIGINT
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        command = import_module("autolabel.cli.main")
        signal.signal(signal.SIGINT, signal.default_int_handler)
    else:
        command = import_module("autolabel.cli.main")
    command.main()


__all__ = ["main"]
