"""A hub on loopback that speaks as much as a fetch needs, and fails in the ways that hubs and networks do."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

LARGE = (".safetensors", ".bin")  # stored with LFS, as the hub does


@dataclass
class Repository:
    """Its commits by name of branch or hash, newest last; and what goes wrong with it."""

    card: dict[str, Any] | None = None
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # commit -> files
    branches: dict[str, str] = field(default_factory=dict)  # branch -> commit
    sends: dict[str, bytes] = field(default_factory=dict)  # other bytes than listed
    absent: set[str] = field(default_factory=set)  # listed, but answered with 404
    gated: int = 0  # the status of files
    stall_at: int | None = None  # the body stops after so many bytes until `Hub.go`
    cut_at: int | None = None  # the connection closes after so many bytes
    ignores_range: bool = False

    def add(self, files: dict[str, bytes], branch: str = "main") -> str:
        commit = hashlib.sha1(
            repr(sorted((name, digest(name, data)) for name, data in files.items())).encode()
        ).hexdigest()
        self.commits[commit] = files
        self.branches[branch] = commit
        return commit


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        """A client that goes away is no news."""


class Hub:
    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str, str]] = []  # method, path, range
        self.go = threading.Event()
        self.stalled = threading.Event()
        self.status = 0  # answers everything with this status
        self.garbage = False
        self.server = QuietServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def add(self, hub_id: str, files: dict[str, bytes], card: dict[str, Any] | None = None) -> Repository:
        repository = self.repositories.setdefault(hub_id, Repository(card))
        repository.add(files)
        return repository

    def ranges(self, name: str) -> list[str]:
        """The Range of each request for a file of that name."""
        return [asked for _, path, asked in self.requests if path.endswith(f"/{name}")]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                hub.requests.append((self.command, self.path, self.headers.get("Range", "")))
                hub.answer(self, unquote(urlsplit(self.path).path))

        return Handler

    def answer(self, to: BaseHTTPRequestHandler, path: str) -> None:
        if self.status:
            return reply(to, self.status)
        if self.garbage:
            return reply(to, 200, b"<html>Sign in to the hotel's network</html>")
        api = re.fullmatch(r"/api/models/(.+?)/revision/(.+)", path)
        file = re.fullmatch(r"/(.+?)/resolve/([^/]+|refs/pr/\d+)/(.+)", path)
        match = api or file
        repository = self.repositories.get(match[1]) if match else None
        if match is None or repository is None:
            return reply(to, 401, headers={"X-Error-Code": "RepoNotFound"})
        commit = repository.branches.get(match[2], match[2])
        if commit not in repository.commits:
            return reply(to, 404, headers={"X-Error-Code": "RevisionNotFound"})
        if api:
            return reply(to, 200, json.dumps(listing(match[1], repository, commit)).encode())
        return self._file(to, repository, commit, match[3])

    def _file(self, to: BaseHTTPRequestHandler, repository: Repository, commit: str, name: str) -> None:
        if repository.gated:
            code = {"X-Error-Code": "GatedRepo"} if repository.gated == 401 else {}
            return reply(to, repository.gated, headers=code)
        files = repository.commits[commit]
        if name not in files or name in repository.absent:
            return reply(to, 404, headers={"X-Error-Code": "EntryNotFound"})
        data = repository.sends.get(name, files[name])
        headers = {"X-Repo-Commit": commit, "ETag": f'"{digest(name, files[name])}"', "Accept-Ranges": "bytes"}
        start = re.fullmatch(r"bytes=(\d+)-", to.headers.get("Range", ""))
        at = int(start[1]) if start and not repository.ignores_range else 0
        status = 206 if start and not repository.ignores_range else 200
        if status == 206:
            headers["Content-Range"] = f"bytes {at}-{len(data) - 1}/{len(data)}"
        return self._send(to, repository, data[at:], status, headers)

    def _send(
        self, to: BaseHTTPRequestHandler, repository: Repository, body: bytes, status: int, headers: dict[str, str]
    ) -> None:
        stops = [stop for stop in (repository.stall_at, repository.cut_at) if stop is not None and stop < len(body)]
        if not stops:
            return reply(to, status, body, headers)
        start_reply(to, status, len(body), headers)
        to.wfile.write(body[: stops[0]])
        to.wfile.flush()
        if repository.stall_at is not None:
            self.stalled.set()
            self.go.wait(60)
        to.close_connection = True


def digest(name: str, data: bytes) -> str:
    """The sha256 of a large file, the git digest of a small one."""
    if name.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def listing(hub_id: str, repository: Repository, commit: str) -> dict[str, Any]:
    """The answer of /api/models, with sizes and digests (?blobs=True)."""

    def sibling(name: str, data: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
        if name.endswith(LARGE):
            return entry | {"lfs": {"size": len(data), "sha256": digest(name, data), "pointerSize": 134}}
        return entry | {"blobId": digest(name, data)}

    files = [sibling(name, data) for name, data in repository.commits[commit].items()]
    card = {} if repository.card is None else {"cardData": repository.card}
    return {"id": hub_id, "modelId": hub_id, "sha": commit, "siblings": files, "tags": [], **card}


def reply(to: BaseHTTPRequestHandler, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
    start_reply(to, status, len(body), headers or {})
    if to.command != "HEAD":
        to.wfile.write(body)


def start_reply(to: BaseHTTPRequestHandler, status: int, length: int, headers: dict[str, str]) -> None:
    to.send_response(status)
    for key, value in {**headers, "Content-Length": str(length)}.items():
        to.send_header(key, value)
    to.end_headers()


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.go.set()
        hub.server.shutdown()
        hub.server.server_close()
        thread.join()


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    """Point this process at a hub and a cache of its own, with no account."""
    for name, value in {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_TOKEN_PATH": str(cache / "no token"),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.delenv("HF_TOKEN", raising=False)


def environment(url: str, cache: Path) -> dict[str, str]:
    """The same for another process."""
    return {"HF_ENDPOINT": url, "HF_HUB_CACHE": str(cache), "HF_TOKEN_PATH": str(cache / "no token"), "HF_TOKEN": ""}
