"""`autolabel review`: look at labels in the browser, the most doubtful first, and correct them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from numpy.typing import NDArray

from autolabel.artifacts import AUDIT_FILE
from autolabel.cli.options import Project, echo, experiment_options, json_option, open_project, print_json
from autolabel.cli.steps import Steps
from autolabel.errors import AutolabelError
from autolabel.flow.stage import roots_of
from autolabel.progress import print_err
from autolabel.store import Artefact, hold_lock

if TYPE_CHECKING:
    from autolabel.review.images import ReviewSet
    from autolabel.review.server import Routes

port_option = click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; 0 = any free.")
browser_option = click.option("--no-browser", is_flag=True, help="Print the address only; open no browser.")


class _Stop(Exception):
    pass


@click.command()
@experiment_options
@click.option("--out", type=click.Path(path_type=Path), help="Write the corrections decided so far, and serve nothing.")
@click.option("--by", "author", default="", help="Name of the reviewer, kept with each decision.")
@port_option
@browser_option
@json_option
def review(
    experiment: Path,
    work: Path | None,
    overrides: tuple[str, ...],
    out: Path | None,
    author: str,
    port: int,
    no_browser: bool,
    as_json: bool,
) -> None:
    """Review the labels of EXPERIMENT in the browser: images with the most expected errors come first.

    Every decision is written down at once; end with Ctrl-C. `--out` makes a folder of corrections of them. Name it as
    `fuse.corrections` in the experiment: students then learn from the corrected labels.
    """
    from autolabel.review.pages import ReviewPage
    from autolabel.review.server import require_server
    from autolabel.review.session import LOCK, Session, review_folder, write_corrections

    if out is None:
        require_server()
    project = open_project(experiment, work=work, overrides=overrides)
    images, right = open_review_set(project)
    folder = review_folder(project.work, images.labels.digest)
    with hold_lock(folder / LOCK):
        session = Session(images, folder, right, author=author)
        if out is not None:
            changed, pixels = write_corrections(session, out)
            if as_json:
                print_json({"out": str(out), "images": changed, "pixels": pixels})
                return
            echo(f"{pixels} pixels corrected in {changed} images, in {out}")
            echo(f'next: write corrections = "{out}" into the table [fuse] of the experiment, and run it')
            return
        if not session.decisions:
            _say_earlier(folder)
        page = ReviewPage(session, project.experiment.name, folder / "corrections")
        with _in_background(lambda check: session.refine(check=check)):
            serve(page.routes(), port, no_browser=no_browser, show=_show_as_json if as_json else show_address)
        if not as_json:
            echo(f"{len(session.decisions)} decisions are kept; --out FOLDER makes corrections of them")


def _say_earlier(folder: Path) -> None:
    """Say where decisions about other labels are, so that nobody takes them for lost."""
    from autolabel.review.session import JOURNAL

    others = sorted(file.parent.name for file in folder.parent.glob(f"*/{JOURNAL}") if file.parent != folder)
    if others:
        where = ", ".join(str(folder.parent / name) for name in others[:3])
        print_err(f"autolabel: decisions about other labels are kept in {where}; the settings of those show them again")


def open_review_set(project: Project) -> tuple[ReviewSet, NDArray[np.float64]]:
    """The label set, and (K, B) the probability that a pixel of a class and bin is right."""
    from autolabel.review.images import ReviewSet

    steps = Steps(project)
    labels, data, codes = steps.open_labels()
    images = ReviewSet(labels, codes, data, roots_of(project.experiment, {"data": data}))
    return images, _probability_right(images, steps.last_audit(labels))


def _probability_right(images: ReviewSet, audit: Artefact | None) -> NDArray[np.float64]:
    """(K, B): calibrated where an audit of these codes is there, otherwise the network's own number."""
    from autolabel.labels.calibration import bin_middles

    book, names = images.book, images.classes.names
    calibration = None if audit is None else AUDIT_FILE.read(audit)["calibration"]
    if calibration is not None:
        return np.array([calibration["classes"][name] for name in names])
    return np.tile(bin_middles(book), (book.num_classes, 1))


@contextmanager
def _in_background(work: Callable[[Callable[[], None]], None]) -> Iterator[None]:
    """Run `work` in a thread beside the block; it is told to stop when the block ends."""
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise _Stop

    def run() -> None:
        try:
            work(check)
        except _Stop:
            pass
        except AutolabelError as error:
            print_err(f"autolabel: {error}")

    thread = threading.Thread(target=run, name="ranking")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def show_address(address: str) -> None:
    click.echo(f"open {address}  (Ctrl-C ends it)")


def _show_as_json(address: str) -> None:
    print_json({"address": address})


def serve(routes: Routes, port: int, *, no_browser: bool, show: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C; show its address first."""
    from autolabel.review.server import open_server

    server, address = open_server(routes, port)
    show(address)
    sys.stdout.flush()
    if not no_browser:
        click.launch(address)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever(poll_interval=0.2)


COMMANDS = [review]
