"""`doctor` on the work folder's file system: good ones, and ones that refuse or lie."""

from __future__ import annotations

import errno
import json
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from autolabel.cli import machine_checks
from autolabel.cli.machine_checks import Check, check_disk, check_machine
from autolabel.cli.main import cli

ALL = ["disk", "files", "lock", "rename", "sync", "links", "names"]


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_this_disk_is_fine_and_stays_empty(tmp_path: Path) -> None:
    checks = check_disk(tmp_path)
    assert [check.name for check in checks] == ALL
    assert all(check.ok for check in checks if check.name not in ("disk", "files")), checks
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_shuts_nobody_out_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", lambda fd, how: None)
    check = by_name(check_disk(tmp_path))["lock"]
    assert not check.ok
    assert "never start two runs" in check.remedy


@pytest.mark.parametrize(("call", "name"), [("fsync", "sync"), ("rename", "rename")])
def test_what_the_system_refuses_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, name: str
) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, refuse)
    found = by_name(check_disk(tmp_path))
    monkeypatch.undo()
    assert not found[name].ok
    assert "No space left" in found[name].found
    assert found[name].remedy


def test_a_disk_that_is_full_or_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(machine_checks.tempfile, "mkdtemp", refuse)
    monkeypatch.setattr(os, "statvfs", statvfs(free=10**6, files=5))
    found = by_name(check_disk(tmp_path))
    assert {name for name, check in found.items() if not check.ok} == {"disk", "files", "writable"}
    assert "Read-only file system" in found["writable"].found
    result = CliRunner().invoke(cli, ["doctor", "--work", str(tmp_path), "--json"])
    assert result.exit_code == 2
    assert not [row for row in json.loads(result.stdout)["checks"] if row["name"] == "self-test" and row["ok"]]
    assert "free some space" in CliRunner().invoke(cli, ["doctor", "--work", str(tmp_path)]).stdout


def statvfs(free: int, files: int) -> Any:
    fields = "f_frsize f_blocks f_bfree f_bavail f_files f_favail"
    return lambda path: namedtuple("About", fields)(1, 10**12, free, free, 10**9, files)


def test_a_place_where_nothing_is(tmp_path: Path) -> None:
    assert [check.name for check in check_machine(tmp_path / "a" / "b")][-1] == "self-test"


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_place_that_can_be_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(cli, ["doctor", "--work", str(tmp_path / name)])
    assert (result.exit_code, result.stderr) == (
        2,
        f"autolabel: {tmp_path / 'file'}: is not a folder; give another --work\n",
    )


def test_names_are_a_note(tmp_path: Path) -> None:
    check = by_name(check_disk(tmp_path))["names"]
    assert check.ok
    assert "case" in check.found
