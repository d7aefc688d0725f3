"""`autolabel next`: which images to label by hand next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from autolabel.cli.options import echo, experiment_options, json_option, open_project, print_json
from autolabel.cli.review import open_review_set
from autolabel.store import hold_lock


@click.command(name="next")
@experiment_options
@click.option("--number", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many images.")
@json_option
def next_images(experiment: Path, work: Path | None, overrides: tuple[str, ...], number: int, as_json: bool) -> None:
    """Name the images of EXPERIMENT that are worth labelling by hand next, the most valuable first.

    An image is worth its expected wrong pixels; those of rare classes count more, and those like the ones of images
    that are named before it count less. It reads codes only.
    """
    from autolabel.audit.next_images import choose_next, doubt_of
    from autolabel.review.session import LOCK, cells_of, review_folder

    project = open_project(experiment, work=work, overrides=overrides)
    images, right = open_review_set(project)
    folder = review_folder(project.work, images.labels.digest)
    with hold_lock(folder / LOCK):
        index = cells_of(images, folder, check=lambda: None)
    groups = [row.group for row in images.manifest.images]
    fine = [np.array(row.counts[:-1]) for row in images.data.labels if row.role == "fine"]
    pixels = np.sum(fine, axis=0) if fine else index.totals().sum(axis=1)
    chosen = choose_next(doubt_of(index, right), groups, pixels, number)
    rows: list[dict[str, Any]] = [
        {"image": images.ids[row.image], "group": groups[row.image], "gain": row.gain, "expected_wrong": row.wrong}
        for row in chosen
    ]
    if as_json:
        print_json({"images": rows, "of": len(images.ids)})
        return
    for row in chosen:
        echo(f"{100 * row.gain:5.2f} %  {images.ids[row.image]}")
    echo(f"{len(rows)} of {len(images.ids)} images hold {100 * sum(row.gain for row in chosen):.0f} % of the gain")


COMMANDS = [next_images]
