"""A review by HTTP: what may be asked, what decisions become, and that none is lost."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from PIL import Image

from autolabel.cli.options import open_project
from autolabel.cli.review import open_review_set
from autolabel.errors import ConfigError, DataError
from autolabel.formats.corrections import UNCHANGED, read_document, read_mask
from autolabel.review.pages import ReviewPage
from autolabel.review.server import Routes, open_server
from autolabel.review.session import JOURNAL, Session, cells_of, review_folder
from autolabel.review.spot_check import SpotCheck, answers_file
from autolabel.review.spot_page import SpotPage
from autolabel.store import Journal
from tests.stages.tiny_pipeline import Tiny, call, call_json

pytest.importorskip("bottle")
pytestmark = [pytest.mark.xdist_group("tiny"), pytest.mark.slow]


class Client:
    """Requests to one address; the token is its path."""

    def __init__(self, address: str) -> None:
        self.parts = urlsplit(address)

    def raw(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, dict]:
        connection = http.client.HTTPConnection(self.parts.hostname, self.parts.port, timeout=60)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())

    def get(self, name: str, /, **fields: object) -> Any:
        status, data, headers = self.raw("GET", f"{self.parts.path}api/{name}?{urlencode(fields)}")
        assert status == 200, data
        return (
            json.loads(data) if headers["Content-Type"] == "application/json" else np.array(Image.open(BytesIO(data)))
        )

    def post(self, name: str, /, **fields: object) -> Any:
        body, kind = json.dumps(fields).encode(), "application/json"
        status, data, _ = self.raw("POST", f"{self.parts.path}api/{name}", body, **{"Content-Type": kind})
        return status, json.loads(data)


def session_of(tiny: Tiny, work: Path, *options: str) -> Session:
    project = open_project(tiny.file, work=tiny.work, overrides=options)
    images, right = open_review_set(project)
    folder = review_folder(work, images.labels.digest)
    return Session(images, folder, right, author="ada", now=lambda: "2026-01-02T03:04:05")


@contextmanager
def served(routes: Routes) -> Iterator[Client]:
    server, address = open_server(routes, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Client(address)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_review(tiny: Tiny, tmp_path: Path) -> None:
    """Decisions become corrections; a second session goes on where the first ended, after a torn line too."""
    session = session_of(tiny, tmp_path)
    before = {image_id: session.images.maps(image_id).layers.labels.copy() for image_id in session.images.ids}
    with served(ReviewPage(session, "tiny", tmp_path / "made").routes()) as client:
        state = client.get("state")
        assert (state["mode"], state["images"], state["decisions"]) == ("review", 5, 0)
        rows = client.get("queue", text="", open=0)["rows"]
        assert sorted(row["n"] for row in rows) == list(range(5))
        one, two, three, four, _ = (row["n"] for row in rows)
        labels = before[session.images.ids[one]]
        assert client.get("layer", name="image", n=one).shape == (*labels.shape, 3)
        for name in ("label", "coarse", "confidence", "region"):
            assert client.get("layer", name=name, n=one, x=3, y=4).shape == labels.shape
        assert client.get("region", n=one, x=3, y=4)["label"] == labels[4, 3]
        to = (int(labels[4, 3]) + 1) % 3
        status, made = client.post("decide", n=one, op="region", x=3, y=4, to=to)
        assert (status, made["state"], made["decisions"]) == (200, "edited", 1)
        assert client.get("pixel", n=one, x=3, y=4)["label"] == to
        for n, op in ((two, "reject"), (three, "accept"), (four, "reject")):
            assert client.post("decide", n=n, op=op)[0] == 200
        assert client.post("undo")[1]["n"] == four
        assert [row["n"] for row in client.get("queue", open=1)["rows"]] == [four, rows[4]["n"]]
        made = client.post("write")[1]
    journal = session.folder / JOURNAL
    kept = journal.read_bytes()
    journal.write_bytes(kept + b'00000000 {"op": "acc')
    again = session_of(tiny, tmp_path)
    assert journal.read_bytes() == kept
    assert again.decisions == session.decisions
    document = read_document(Path(made["out"]))
    assert document.labels == session.images.labels.digest
    masks = {image.id: read_mask(Path(made["out"]), image, len(document.classes)) for image in document.images}
    assert set(masks) == {session.images.ids[one], session.images.ids[two]}
    assert (masks[session.images.ids[two]] == np.where(before[session.images.ids[two]] == 255, UNCHANGED, 255)).all()
    mask = masks[session.images.ids[one]]
    assert mask[4, 3] == to
    np.testing.assert_array_equal(mask != UNCHANGED, again.current(session.images.ids[one]) != labels)
    assert {image.author for image in document.images} == {"ada"}


def test_the_exact_ranking_is_made_once(tiny: Tiny, tmp_path: Path) -> None:
    session = session_of(tiny, tmp_path)
    first = session.ranked.wrong
    session.refine()
    assert session.is_exact
    coarse = session.images.has_coarse
    assert coarse, "filled pixels count as right in both"
    np.testing.assert_allclose(session.ranked.wrong.sum(), first.sum(), rtol=0.2)
    with pytest.raises(ZeroDivisionError):
        session_of(tiny, tmp_path / "other").refine(check=lambda: 1 / 0)
    file = session.folder / "cells.npz"
    file.write_bytes(b"")
    with pytest.raises(DataError, match="is damaged"):
        session.refine()


def test_only_the_page_of_the_token_is_answered(tiny: Tiny, tmp_path: Path) -> None:
    session = session_of(tiny, tmp_path)
    with served(ReviewPage(session, "tiny", tmp_path / "made").routes()) as client:
        path = client.parts.path
        status, page, headers = client.raw("GET", path)
        assert (status, page[:15]) == (200, b"<!doctype html>")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert b"http" not in page, "nothing is asked of another host"
        for name in ("review.js", "view.js", "review.css"):
            status, data, _ = client.raw("GET", path + name)
            assert (status, b"http" in data.replace(b"application/json", b"")) == (200, False)
        assert client.raw("GET", "/wrong/")[0] == 404
        assert client.raw("GET", "/wrong/api/state")[0] == 404
        assert client.raw("GET", path + "../server.py")[0] == 404
        assert client.raw("GET", f"{path}api/state", Host="example.org:80")[0] == 403
        plain = {"Content-Type": "text/plain"}
        assert client.raw("POST", f"{path}api/decide", b'{"n": 0, "op": "accept"}', **plain)[0] == 400
        for fields in (
            {"n": 9, "op": "accept"},
            {"n": 0, "op": "vote"},
            {"n": 0, "op": "region", "x": 80, "y": 0, "to": 1},
            {"n": 0, "op": "region", "x": 0, "y": 0, "to": 77},
            {"n": "0", "op": "class", "to": -1},
            {"op": "accept"},
        ):
            status, answer = client.post("decide", **fields)
            assert (status, list(answer)) == (400, ["error"])
        assert client.post("write")[1]["error"].count("no decision that changes a pixel") == 1
        assert client.raw("GET", f"{path}api/layer?name=label&n=1e3")[0] == 400
    assert session.decisions == []


def test_corrections_reach_the_student(tiny: Tiny, tmp_path: Path) -> None:
    """`--out` takes the way of `corrections import`; decisions about other labels are refused."""
    work = shutil.copytree(tiny.work, tmp_path / "work", ignore=shutil.ignore_patterns("review"))
    session = session_of(tiny, work)
    session.decide({"op": "reject", "image": session.images.ids[0]})
    out = tmp_path / "corrections"
    result = call_json("review", tiny.file, "--work", work, "--out", out)
    assert result["images"] == 1
    options = ("--work", work, "--set", f"fuse.corrections={out}")
    call_json("run", tiny.file, *options, "--until", "fuse", "-q")
    states = call_json("status", tiny.file, *options)["stages"]
    fused = next(Path(state["path"]) for state in states if state["name"] == "fuse")
    assert [row["id"] for row in json.loads((fused / "data" / "corrected.json").read_text())] == [session.images.ids[0]]
    twice = call("review", tiny.file, "--work", work, "--out", out)
    assert (twice.exit_code, len(twice.stderr.splitlines())) == (1, 1)
    again = ("--set", "label.threshold=0.6", "--until", "label", "-q")
    call_json("run", tiny.file, "--work", tiny.work, *again)
    other = session_of(tiny, tmp_path, "label.threshold=0.6")
    assert other.folder.name != session.folder.name
    (tmp_path / "review" / session.folder.name).mkdir()
    (tmp_path / "review" / session.folder.name / JOURNAL).write_bytes((other.folder / JOURNAL).read_bytes())
    with pytest.raises(DataError, match="about other labels"):
        session_of(tiny, tmp_path)


def started(tiny: Tiny, work: Path) -> tuple[subprocess.Popen, Client]:
    command = [
        sys.executable,
        "-m",
        "autolabel",
        "review",
        str(tiny.file),
        "--work",
        str(work),
        "--no-browser",
        "--json",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, Client(json.loads(process.stdout.readline())["address"])


def test_a_kill_loses_no_decision(tiny: Tiny, tmp_path: Path) -> None:
    """The process is killed as soon as a decision is answered; a second process is refused while the first lives."""
    work = shutil.copytree(tiny.work, tmp_path / "work", ignore=shutil.ignore_patterns("review"))
    for number in range(2):
        process, client = started(tiny, work)
        try:
            assert client.get("state")["decisions"] == number
            assert call("review", tiny.file, "--work", work, "--out", tmp_path / "x").exit_code == 75
            assert client.post("decide", n=number, op="reject")[0] == 200
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    assert call_json("review", tiny.file, "--work", work, "--out", tmp_path / "out")["images"] == 2


def test_a_port_that_is_taken(tiny: Tiny, tmp_path: Path) -> None:
    routes = ReviewPage(session_of(tiny, tmp_path), "tiny", tmp_path / "made").routes()
    with served(routes) as client, pytest.raises(ConfigError, match="cannot be used"):
        open_server(routes, client.parts.port)


def spot_check_of(tiny: Tiny, work: Path, *options: str) -> SpotCheck:
    project = open_project(tiny.file, work=tiny.work, overrides=options)
    images, right = open_review_set(project)
    index = cells_of(images, review_folder(work, images.labels.digest), check=lambda: None)
    journal = Journal(answers_file(work, images.codes.digest))
    return SpotCheck(images, index, right, journal, author="ada")


def test_a_spot_check(tiny: Tiny, tmp_path: Path) -> None:
    """Questions are about pixels of the cells that were drawn; answers count again in another session and cut."""
    check = spot_check_of(tiny, tmp_path)
    book = check.images.book
    with served(SpotPage(check, "tiny", 12).routes()) as client:
        first = check.questions(12)[0]
        assert client.post("answer", question=0, answer="maybe")[0] == 400
        for number in range(12):
            asked = client.get("state")["question"]
            maps = check.images.maps(check.images.ids[asked["n"]])
            y, x = asked["y"], asked["x"]
            assert maps.layers.labels[y, x] == asked["label"]
            if not number:
                by_person = maps.coarse is not None and maps.coarse[y, x] == first.label
                bins = int(book.classes_and_bins(maps.codes[y : y + 1, x : x + 1])[1].item())
                source = book.bins if by_person else bins
                assert (asked["n"], asked["label"], source) == (first.image, first.label, first.source)
            status, made = client.post("answer", question=asked["number"], answer="yes" if number % 4 else "no")
            assert (status, made["answered"]) == (200, number + 1)
        assert client.post("answer", question=3, answer="no")[1]["answered"] == 12, "a late answer changes nothing"
        assert client.post("undo")[1]["answered"] == 11
    found = check.result()
    assert found["answers"] == 11
    assert found["low"] < found["accuracy"] < found["high"]
    assert spot_check_of(tiny, tmp_path).result() == found
    lower = "label.threshold=0.3"
    call_json("run", tiny.file, "--work", tiny.work, "-q", "--until", "label", "--set", lower)
    assert spot_check_of(tiny, tmp_path, lower).result()["answers"] == 11


@pytest.mark.parametrize(
    ("command", "key"),
    [(("review", "--no-browser"), "address"), (("audit", "--ask", "2", "--no-browser"), "spot_check")],
)
def test_one_json_object(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], key: str
) -> None:
    def interrupted(self: object, poll_interval: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("socketserver.BaseServer.serve_forever", interrupted)
    work = shutil.copytree(tiny.work, tmp_path / "work", ignore=shutil.ignore_patterns("review"))
    assert key in call_json(command[0], tiny.file, "--work", work, *command[1:])


def test_the_figures_and_the_next_images_by_command(tiny: Tiny, tmp_path: Path) -> None:
    work = shutil.copytree(tiny.work, tmp_path / "work", ignore=shutil.ignore_patterns("review"))
    said = call("audit", tiny.file, "--work", work, "--ask", "0")
    assert (said.exit_code, said.stdout) == (0, "no question is answered yet; `--ask 200` asks 200\n")
    found = call_json("next", tiny.file, "--work", work, "--number", "3")
    assert len(found["images"]) == 3
    gains = [row["gain"] for row in found["images"]]
    assert gains == sorted(gains, reverse=True)
    assert len({row["image"] for row in found["images"]}) == 3
