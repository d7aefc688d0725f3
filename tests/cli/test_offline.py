"""`--offline` refuses connections in this process and in those that it starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

_TRY = """
import socket, sys
from autolabel.errors import AutolabelError
from autolabel.offline import follow_parent, go_offline
go_offline() if sys.argv[1] == "option" else follow_parent()
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()[:2]).close()  # this machine: torchrun needs it
for attempt in (
    lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
    lambda: socket.getaddrinfo("example.org", 443),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
):
    try:
        attempt()
    except AutolabelError as error:
        assert "--offline" in str(error)
    else:
        sys.exit("a connection was made")
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
