"""A part of the calls that `make soak` makes; and that the judge sees what it is to see."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from autolabel.cli.main import cli
from autolabel.errors import DataError
from autolabel.user_files import read_user_file
from tests.faults import fault_wrong_calls
from tests.faults.fault_wrong_calls import choose, commands, judge, run


@pytest.mark.slow
def test_wrong_calls_end_well(ram: Path) -> None:
    tally = run(300, 1, ram)
    assert tally.tried == 300
    assert not tally.bad, "\n".join(tally.bad)


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        ((7, "", "x"), "exit code 7"),
        ((1, "", "Traceback (most recent call last):\nKeyError: 1"), "a traceback"),
        ((2, "", "one\ntwo"), "2 lines"),
        ((0, "\x1b[31m", ""), "control characters"),
    ],
)
def test_the_judge(ended: tuple[int, str, str], says: str) -> None:
    assert any(says in problem for problem in judge(*ended))
    assert judge(3, "", "autolabel: x: y; z\n") == []


def test_a_command_that_fails_is_found(ram: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    @click.option("--out", type=click.Path(path_type=Path))
    @click.argument("codes", type=click.Path(path_type=Path))
    def broken(out: Path, codes: Path) -> None:
        """Trusts what it is given, and writes where it should not."""
        Path("elsewhere").write_text(read_user_file(codes, DataError).decode("ascii"))

    monkeypatch.setitem(cli.commands, "broken", broken)
    monkeypatch.setattr(fault_wrong_calls, "commands", lambda: iter([(("broken",), broken)]))
    tally = run(60, 0, ram)
    assert any("UnicodeDecodeError" in line for line in tally.bad)
    assert any("changed ['elsewhere']" in line for line in tally.bad)


def test_every_parameter_gets_its_turn(ram: Path) -> None:
    import random

    from tests.faults.cabinet import cabinet

    known = {path for path, command in commands() if command.params}
    assert {("run",), ("export", "model"), ("import-weights",)} <= known
    chosen = choose(cabinet(ram / "things"), 300, random.Random(0))
    assert {call.path for call in chosen} == known
    assert len({(call.path, call.parameter) for call in chosen}) > 70


@pytest.mark.parametrize("place", ["/dev/zero", "/dev/null", "."])
def test_only_regular_files_are_read(place: str) -> None:
    with pytest.raises(DataError, match=r"cannot be read: (it is no regular file|Is a directory)"):
        read_user_file(Path(place), DataError)
