"""The review page in Chromium: decisions made with keys and mouse, the server killed after each of them.

`make test-review` runs it. CHROMIUM names the browser, by default `chromium` on the path.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from autolabel.cli.options import open_project
from autolabel.cli.review import open_review_set
from autolabel.formats.corrections import UNCHANGED, apply, read_document, read_mask
from autolabel.review.images import ReviewSet
from tests.helpers.experiments import experiment_toml
from tests.helpers.stand_in import stand_in_teacher
from tests.stages.tiny_pipeline import TINY, call, call_json

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SECOND = "infer.second_below=0.9"


class Reviewed:
    """An experiment with labels of a stand-in teacher, and a server of its review that may be killed."""

    def __init__(self, folder: Path) -> None:
        self.file, self.work = folder / "tiny.toml", folder / "work"
        edges = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
        label = {"threshold": 0.5, "coarse": "veto"}
        self.file.write_text(experiment_toml(TINY | {"infer": {"edges": edges, "second_below": 0.9}, "label": label}))
        call_json("run", self.file, "--work", self.work, "--until", "manifest", "-q")
        stand_in_teacher(open_project(self.file, work=self.work, overrides=()))
        call_json("run", self.file, "--work", self.work, "--until", "label", "-q")
        self.images: ReviewSet = open_review_set(open_project(self.file, work=self.work, overrides=()))[0]

    def start(self, *command: str) -> tuple[subprocess.Popen[str], str]:
        words = [sys.executable, "-m", "autolabel", *command, "--work", str(self.work), "--no-browser"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts)
        assert process.stdout is not None
        said = process.stdout.readline()  # open ADDRESS  (Ctrl-C ends it)
        assert said.startswith("open http://127.0.0.1:"), said
        return process, said.split()[1]


def _heed_interrupts() -> None:
    """A test that a shell started in the background ignores SIGINT, and its children would, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    return Reviewed(tmp_path_factory.mktemp("review"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium; install it, or name it in CHROMIUM")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=FLAGS)


def opened(browser: Browser, address: str) -> Page:
    """The page; a request to any other host, and an error of the page, fails the test."""
    page = browser.new_page(viewport={"width": 1300, "height": 800})
    page.set_default_timeout(60_000)
    page.on("request", lambda request: check(request.url.startswith((address, "data:")), request.url))
    page.on("pageerror", lambda error: check(False, str(error)))
    page.goto(address)
    page.wait_for_selector("#world img[data-layer=image]")
    return page


def check(holds: bool, what: str) -> None:
    assert holds, what


def show(page: Page, image_id: str) -> None:
    page.fill("#filter", image_id)
    page.locator(f"#rows button:has-text('{image_id}')").first.click()
    page.wait_for_function("id => document.getElementById('name').textContent === id", arg=image_id)
    page.wait_for_selector("#world img[data-layer=image]")
    page.locator("#filter").blur()


def click_pixel(page: Page, x: int, y: int) -> None:
    place = page.evaluate(
        """([x, y]) => { const w = document.getElementById('world').getBoundingClientRect(),
           i = document.querySelector('#world img');
           return [w.left + (x + .5) * w.width / i.width, w.top + (y + .5) * w.height / i.height]; }""",
        [x, y],
    )
    page.mouse.click(*place)
    page.wait_for_selector("#world img[data-layer=region]")


def press(page: Page, key: str, decisions: int) -> None:
    """Press a key, and wait until the server has answered that so many decisions stand."""
    with page.expect_response(lambda answer: "/api/decide" in answer.url or "/api/undo" in answer.url) as answer:
        page.keyboard.press(key)
    assert answer.value.json()["decisions"] == decisions


def flood(shown: np.ndarray, x: int, y: int) -> np.ndarray:
    mask, todo = np.zeros(shown.shape, bool), [(y, x)]
    while todo:
        r, c = todo.pop()
        if 0 <= r < shown.shape[0] and 0 <= c < shown.shape[1] and not mask[r, c] and shown[r, c] == shown[y, x]:
            mask[r, c] = True
            todo += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
    return mask


def most(values: np.ndarray, without: int) -> int | None:
    found = [v for v in values.tolist() if v not in (255, without)]
    return min(set(found), key=lambda v: (-found.count(v), v)) if found else None


def test_accept_reject_undo_and_layers(reviewed: Reviewed, browser: Browser) -> None:
    process, address = reviewed.start("review", str(reviewed.file))
    try:
        page = opened(browser, address)
        before = int(page.evaluate("fetch('api/state').then(a => a.json()).then(s => s.decisions)"))
        first = page.locator("#name").inner_text()
        press(page, "a", before + 1)
        page.wait_for_function("id => document.getElementById('name').textContent !== id", arg=first)
        press(page, "u", before)
        page.wait_for_function("id => document.getElementById('name').textContent === id", arg=first)
        for key, layer in (("c", "confidence"), ("o", "coarse"), ("l", "label")):
            page.keyboard.press(key)
            page.wait_for_selector(f"#world img[data-layer={layer}]")
        scale = "document.getElementById('world').style.transform"
        fitted = page.evaluate(scale)
        page.keyboard.press("+")
        assert page.evaluate(scale) != fitted
        page.keyboard.press("0")
        assert page.evaluate(scale) == fitted
        page.keyboard.press("?")
        assert page.locator("#keys").is_visible()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 0


def test_twenty_decisions_and_a_kill_after_each(reviewed: Reviewed, browser: Browser, tmp_path: Path) -> None:
    images, rng = reviewed.images, np.random.default_rng(0)
    names = images.classes.names
    wanted = {image_id: images.maps(image_id).layers.labels.copy() for image_id in images.ids}
    number = 0
    while number < 20:
        image_id = images.ids[number % len(images.ids)]
        layers, current = images.maps(image_id).layers, wanted[image_id]
        y, x = (int(rng.integers(side)) for side in current.shape)
        mask = flood(np.where(current == 255, 256 + layers.teacher.astype(int), current), x, y)
        ignored = current[y, x] == 255
        second, teacher = most(layers.second[mask], int(current[y, x])), most(layers.teacher[mask], -1)
        keys = ["1", "3", *(["t"] if ignored and teacher is not None else [])]
        keys += [] if ignored else ["i", "x"]
        keys += [] if second is None else ["s"]
        key = str(rng.choice(keys))
        process, address = reviewed.start("review", str(reviewed.file))
        try:
            page = opened(browser, address)
            show(page, image_id)
            click_pixel(page, x, y)
            number += 1
            press(page, key, number)
            page.close()
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        label = {"1": 0, "3": 2, "t": teacher, "i": 255, "s": second}.get(key)
        current[current == current[y, x] if key == "x" else mask] = 255 if key == "x" else label
    out = tmp_path / "corrections"
    call_json("review", reviewed.file, "--work", reviewed.work, "--out", out)
    made = {image.id: read_mask(out, image, len(names)) for image in read_document(out).images}
    for image_id, labels in wanted.items():
        before = images.maps(image_id).layers.labels
        mask = made.get(image_id, np.full_like(labels, UNCHANGED))
        np.testing.assert_array_equal(apply(before, mask), labels)
    arguments = ("--work", reviewed.work, "--set", f"fuse.corrections={out}", "--until", "fuse", "-q")
    assert call("run", reviewed.file, *arguments).exit_code == 0


def test_a_spot_check(reviewed: Reviewed, browser: Browser) -> None:
    process, address = reviewed.start("audit", str(reviewed.file), "--ask", "6")
    try:
        page = opened(browser, address)
        for key in "yynuyysy":
            with page.expect_response(lambda answer: "/api/answer" in answer.url or "/api/undo" in answer.url):
                page.keyboard.press(key)
        page.wait_for_selector("#side .figure")
        page.wait_for_function("document.getElementById('progress').textContent.startsWith('6 of 6')")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
    kept = call_json("audit", reviewed.file, "--work", reviewed.work, "--ask", "0")["spot_check"]
    assert kept["answers"] == 5  # one "cannot say"
