"""`export labels --push` against a hub on loopback that keeps what it is sent."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from autolabel.cli.main import cli
from tests.formats.label_sets import images_of, write_label_set
from tests.helpers.hub import use_hub


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def answer(self, document: object, status: int = 200) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.answer({"error": "nothing here"}, 404)

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if server.status != 200:
            return self.answer({"error": "no"}, server.status)
        if self.path == "/api/repos/create":
            server.created.append(json.loads(body))
            return self.answer({"url": f"{server.url}/datasets/me/streets"})
        if "/preupload/" in self.path:
            files = [{**row, "uploadMode": "regular", "shouldIgnore": False} for row in json.loads(body)["files"]]
            return self.answer({"files": files})
        if "/commit/" not in self.path:  # validate-yaml, which checks the head of the card
            return self.answer({"errors": [], "warnings": []})
        for line in body.splitlines():
            row = json.loads(line)
            if row["key"] == "file":
                server.files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
        commit = {"commitUrl": f"{server.url}/datasets/me/streets/commit/{'a' * 40}", "commitOid": "a" * 40}
        return self.answer({**commit, "hookOutput": ""})


@contextmanager
def running(status: int = 200) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.status, server.files, server.created = status, {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def export(tmp_path: Path, *options: object) -> Result:
    labels = write_label_set(tmp_path / "set", ("road", "car"))
    images = images_of(labels, tmp_path / "images")
    arguments = ("export", "labels", labels, "--out", tmp_path / "out", "--images", images, "-q", *options)
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_hub_gets_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as server:
        use_hub(monkeypatch, server.url, tmp_path / "cache")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        result = export(tmp_path, "--format", "hf", "--push", "me/streets")
    assert result.exit_code == 0, result.output
    assert f"uploaded: {server.url}" in result.stdout
    (created,) = server.created
    assert (created["type"], created["visibility"], created["name"]) == ("dataset", "private", "streets"), created
    out = tmp_path / "out"
    on_disk = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert server.files == on_disk
    assert "data/train-00000.parquet" in on_disk


def test_a_refused_upload_keeps_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(status=403) as server:
        use_hub(monkeypatch, server.url, tmp_path / "cache")
        result = export(tmp_path, "--format", "hf", "--push", "me/streets")
    assert result.exit_code == 1
    assert "refuses the upload with status 403" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (tmp_path / "out" / "README.md").is_file()


def test_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as server:
        pass
    use_hub(monkeypatch, server.url, tmp_path / "cache")
    result = export(tmp_path, "--format", "hf", "--push", "me/streets")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), result.stderr


def test_wrong_calls(tmp_path: Path) -> None:
    assert "not coco" in export(tmp_path, "--format", "coco", "--push", "me/streets").stderr
    result = export(tmp_path, "--format", "hf", "--push", "me/../streets")
    assert (result.exit_code, "is no id of a repository" in result.stderr) == (2, True)
    assert not (tmp_path / "out").exists()
