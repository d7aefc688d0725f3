"""`--offline` refuses connections in this process and in those that it starts."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from autolabel.distributed import from_env
from autolabel.errors import ConfigError
from autolabel.offline import VARIABLE, is_this_machine, refuse_other_machine
from autolabel.parallel import require_backend
from tests.helpers.paths import ROOT

_TRY = """
import socket, sys
from autolabel.errors import AutolabelError
from autolabel.offline import follow_parent, go_offline
go_offline() if sys.argv[1] == "option" else follow_parent()
datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()[:2]).close()  # this machine: torchrun needs it
for attempt in (
    lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
    lambda: socket.getaddrinfo("example.org", 443),
    lambda: datagram.sendto(b"x", ("192.0.2.1", 53)),
    lambda: datagram.sendmsg([b"x"], [], 0, ("192.0.2.1", 53)),
    lambda: socket.gethostbyname("example.org"),
    lambda: socket.gethostbyname_ex("example.org"),
    lambda: socket.gethostbyaddr("192.0.2.1"),
    lambda: socket.getnameinfo(("192.0.2.1", 80), 0),
    lambda: socket.getaddrinfo("localhost.evil.org", 80),
    lambda: socket.getaddrinfo(b"127.x.org", 80),
    lambda: socket.getaddrinfo("::1.example.org", 80),
):
    try:
        attempt()
    except AutolabelError as error:
        assert "--offline" in str(error)
    else:
        sys.exit("a connection was made")
assert socket.gethostbyname("localhost").startswith("127.")
assert socket.getfqdn("192.0.2.1") == "192.0.2.1", "torchrun's agent asks, and takes no for an answer"
import os
assert os.environ["HF_HUB_OFFLINE"] == os.environ["AUTOLABEL_OFFLINE"] == "1"
print("refused")
"""


@pytest.mark.parametrize("how", ["option", "inherited"])
def test_no_connection_leaves_the_machine(how: str) -> None:
    env = {**os.environ, **({"AUTOLABEL_OFFLINE": "1"} if how == "inherited" else {})}
    done = subprocess.run(
        [sys.executable, "-c", _TRY, how], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout == "refused\n", done.stderr


THIS = ["localhost", "LocalHost", "127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", ""]
OTHER = [
    "localhost.evil.org",
    "127.x.org",
    "127.0.0.1.evil.org",
    "::1.org",
    "::ffff:8.8.8.8",
    "10.0.0.1",
    "0.0.0.0.org",
]


@pytest.mark.parametrize(("host", "local"), [*((host, True) for host in THIS), *((host, False) for host in OTHER)])
def test_what_counts_as_this_machine(host: str, local: bool) -> None:
    assert is_this_machine(host) == local


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:6379", True),
        ("tcp://localhost:8786", True),
        ("tls://[::1]:8786", True),
        ("::1", True),
        ("tcp://10.0.0.1:8786", False),
        ("tcp://127.0.0.1@evil.org:1", False),
        ("ray://localhost.evil.org:10001", False),
        ("auto", False),
        ("tcp://[::1", False),
    ],
)
def test_an_address_of_a_cluster(address: str, local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_other_machine("X", address)
    monkeypatch.setenv(VARIABLE, "1")
    if local:
        refuse_other_machine("X", address)
        return
    with pytest.raises(ConfigError, match=r"^X: --offline refuses .*; run it without --offline$"):
        refuse_other_machine("X", address)


@pytest.mark.parametrize(
    ("master", "ranks_here", "refused"),
    [
        ("127.0.0.1", 2, False),
        ("localhost", 4, False),
        ("node-0", 2, True),
        ("10.0.0.1", 4, True),
        ("OWN", 4, False),
        ("OWN", 2, True),  # its other ranks run elsewhere
    ],
)
def test_a_job_of_several_machines(
    master: str, ranks_here: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "my-host")
    said = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": str(ranks_here)}
    said |= {"MASTER_ADDR": master.replace("OWN", "my-host.lan"), "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "x"}
    assert from_env(said).size == 4
    monkeypatch.setenv(VARIABLE, "1")
    if not refused:
        assert from_env(said).size == 4
        return
    with pytest.raises(ConfigError, match=r"^MASTER_ADDR: --offline refuses"):
        from_env(said)


def test_a_cluster_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: importlib.machinery.ModuleSpec(name, None))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    require_backend("ray")
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(ConfigError, match=r"^RAY_ADDRESS: --offline refuses '10\.0\.0\.1:6379'"):
        require_backend("ray")
    for own in ("local", "127.0.0.1:6379"):
        monkeypatch.setenv("RAY_ADDRESS", own)
        require_backend("ray")


def test_a_cluster_of_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"scheduler-address": "tcp://10.0.0.1:8786"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: importlib.machinery.ModuleSpec(name, None))
    monkeypatch.setitem(sys.modules, "dask", SimpleNamespace(config=settings))
    require_backend("dask")
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(ConfigError, match=r"^DASK_SCHEDULER_ADDRESS: --offline refuses"):
        require_backend("dask")
    settings["scheduler-address"] = "tcp://localhost:8786"
    require_backend("dask")
    settings.clear()
    require_backend("dask")


def test_the_option_stands_before_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "autolabel", "--offline", "schema"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str) -> None:
    def complete(mode: str, **more: str) -> str:
        env = {**os.environ, "_AUTOLABEL_COMPLETE": f"{shell}_{mode}", **more}
        code = "from autolabel.cli.main import cli; cli(prog_name='autolabel')"
        return subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
        ).stdout

    if shell != "bash":  # its script asks the installed bash for its version
        assert "_autolabel_completion" in complete("source")
    words = complete("complete", COMP_WORDS="autolabel exp", COMP_CWORD="exp" if shell == "fish" else "1")
    assert "export" in words
    assert "predict" not in words
