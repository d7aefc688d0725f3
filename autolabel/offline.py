"""`--offline`: no connection beyond this machine, whatever a library tries.

Python reports every connect and every look-up of a host to audit hooks, which cannot be removed. Programs that are not
Python and that a library starts are told by the variables below.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from autolabel.errors import AutolabelError

VARIABLE = "AUTOLABEL_OFFLINE"  # ranks and workers inherit it
_LIBRARIES = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "WANDB_MODE": "offline"}
_LOCAL = ("localhost", "127.", "::1", "0.0.0.0")


def go_offline() -> None:
    """From now on this process, and Python processes of autolabel that it starts, connect to this machine only."""
    os.environ.update(_LIBRARIES, **{VARIABLE: "1"})
    sys.addaudithook(_refuse)


def follow_parent() -> None:
    """Go offline if the process that started this one did."""
    if os.environ.get(VARIABLE) == "1":
        go_offline()


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event not in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        return
    address = args[0] if event == "socket.getaddrinfo" else args[1]
    host = address[0] if isinstance(address, tuple) else address
    is_path = event != "socket.getaddrinfo" and not isinstance(address, tuple)  # a socket of this machine
    if host is None or is_path or str(host).startswith(_LOCAL):
        return
    raise AutolabelError(
        f"--offline: a connection to {printable_host(host)}", "was refused", "run it without --offline"
    )


def printable_host(host: object) -> str:
    return host.decode("ascii", "backslashreplace") if isinstance(host, bytes) else str(host)
