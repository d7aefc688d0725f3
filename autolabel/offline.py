"""`--offline`: no connection beyond this machine, whatever a library tries.

Python reports every connect, every datagram and every look-up of a host to audit hooks, which cannot be removed. Code
that is not Python is not seen: programs that libraries start are told by the variables below, and a job or a cluster
on other machines is refused before it begins (`refuse_other_machine`).
"""

from __future__ import annotations

import os
import socket
import sys
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

from autolabel.errors import AutolabelError, ConfigError

VARIABLE = "AUTOLABEL_OFFLINE"  # ranks and workers inherit it
_LIBRARIES = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "WANDB_MODE": "offline",
    "WANDB_ERROR_REPORTING": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_HOST_ARGUMENT = {  # by audit event: the place of the host or of the address that contains it
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
    "socket.getnameinfo": 0,
}


class OfflineError(AutolabelError, OSError):
    """Also an OSError: a library that can do without the connection goes on."""


def go_offline() -> None:
    """From now on this process, and Python processes of autolabel that it starts, connect to this machine only."""
    os.environ.update(_LIBRARIES, **{VARIABLE: "1"})
    sys.addaudithook(_refuse)


def follow_parent() -> None:
    """Go offline if the process that started this one did."""
    if is_offline():
        go_offline()


def is_offline() -> bool:
    return os.environ.get(VARIABLE) == "1"


def is_this_machine(host: str) -> bool:
    """Whether it is "localhost" or a loopback address. "" and "0.0.0.0" stand for this machine, too."""
    if host.lower() in ("", "localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_loopback or address.is_unspecified


def refuse_other_machine(setting: str, address: str, *, by_name: bool = False) -> None:
    """ConfigError under `--offline` if `address` (host, host:port or URL) is not this machine.

    It is for connections that audit hooks do not see. `by_name`: this machine's own host name is right, too.
    """
    host = _host_of(address)
    own = by_name and host.partition(".")[0] == socket.gethostname().lower().partition(".")[0]
    if is_offline() and not own and not is_this_machine(host):
        what = f"--offline refuses {address!r}, which is not this machine by its loopback address"
        raise ConfigError(setting, what, "run it without --offline")


def _host_of(address: str) -> str:
    if is_this_machine(address):
        return address
    try:
        return urlsplit(address if "//" in address else f"//{address}").hostname or address
    except ValueError:  # brackets of an IPv6 address that do not match
        return address


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event not in _HOST_ARGUMENT:
        return
    address = args[_HOST_ARGUMENT[event]]
    is_address = event in ("socket.connect", "socket.sendto", "socket.sendmsg")
    if address is None or (is_address and not isinstance(address, tuple)):  # connected before, or a path
        return
    host = _printable(address[0] if isinstance(address, tuple) else address)
    if not is_this_machine(host):
        raise OfflineError(f"--offline: a connection to {host}", "was refused", "run it without --offline")


def _printable(host: object) -> str:
    return host.decode("ascii", "backslashreplace") if isinstance(host, bytes) else str(host)
