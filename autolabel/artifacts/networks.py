"""Artefact `weights`: a network, the images it was trained on, and the log of its training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, cast

from autolabel.artifacts.json_file import JsonFile
from autolabel.errors import WeightsError
from autolabel.store import Artefact, Draft
from autolabel.user_files import read_user_file

if TYPE_CHECKING:
    from autolabel.models import Network, NetworkCard

WEIGHTS = "weights.safetensors"
TRAINING_LOG = "metrics.jsonl"


class Origin(TypedDict):
    """The source of the first weights, as a network's card names it."""

    pretrained: NotRequired[object]


class TrainingMeta(Origin):
    steps: int
    images: int
    trained_on: str  # for people: "fine + auto"
    miou: float | None


class UntrainedMeta(TrainingMeta):
    """For a network that is taken as it is."""

    never_predicted: list[str]  # classes


class CurvePoint(TypedDict):
    """Some steps of a training: the last of them, their mean loss (None: none was finite), the last learning rate."""

    step: int
    loss: float | None
    lr: float


class ValidationPoint(TypedDict):
    step: int
    miou: float | None
    accuracy: float | None
    iou: dict[str, float | None]  # by class


class TrainingCurve(TypedDict):
    steps: list[CurvePoint]
    validations: list[ValidationPoint]


class TrainedOn(TypedDict):
    """For the leak guard, which compares digests: a copy of an image under another name has the same one."""

    images: list[str]  # SHA-256 of the image files, sorted
    complete: bool  # False where the network began with weights whose training data are not known


TRAINED_ON_FILE: JsonFile[TrainedOn] = JsonFile("trained_on.json")


def read_network(artefact: Artefact) -> tuple[Network, NetworkCard]:
    """The network in eval mode, and the card that came with its weights."""
    from autolabel.models import network_from_bytes

    return network_from_bytes(artefact.read(WEIGHTS), artefact.file(WEIGHTS))


def needs_transformers(artefact: Artefact) -> bool:
    """Whether its network is one of the transformers library."""
    from autolabel.models.weights_file import HuggingFaceCard, read_card

    return isinstance(read_card(artefact.read(WEIGHTS), artefact.file(WEIGHTS)), HuggingFaceCard)


def write_network(draft: Draft, network: Network, card: NetworkCard) -> None:
    from autolabel.models import network_to_bytes

    draft.write(WEIGHTS, network_to_bytes(network, card))


def read_initial_weights(artefact: Artefact) -> bytes:
    """The bytes of its weights file, for a training that starts from them."""
    return artefact.read(WEIGHTS)


def read_weights(path: Path) -> bytes:
    """The bytes of a weights file that a user names. Raises WeightsError."""
    return read_user_file(path, WeightsError, "give the path of a safetensors file")


def training_meta(artefact: Artefact) -> TrainingMeta:
    return cast(TrainingMeta, artefact.meta)


def training_curve(artefact: Artefact) -> TrainingCurve | None:
    """The curve of a trained network; None for one that was taken as it is, or was made before there were curves."""
    return cast("TrainingCurve | None", artefact.provenance.get("curve"))


def origin_of(remarks: Mapping[str, Any]) -> Origin:
    """The origin among the remarks of a card or in an artefact's meta."""
    return Origin(pretrained=remarks["pretrained"]) if "pretrained" in remarks else Origin()


def append_training_log(draft: Draft, row: Mapping[str, object]) -> None:
    """`row["kind"]` says what it reports: a step, a validation, a note."""
    draft.log_append(TRAINING_LOG, json.dumps(row))


def training_log(artefact: Artefact | Draft) -> Iterator[dict[str, Any]]:
    """The rows of a log; steps that were done again after a kill are in it again."""
    for line in artefact.log_lines(TRAINING_LOG):
        with suppress(ValueError):  # a power cut may tear a line of a log
            yield json.loads(line)


def step_seconds(artefact: Artefact) -> Iterator[float]:
    """The duration of each training step that the log holds."""
    return (row["seconds"] for row in training_log(artefact) if row["kind"] == "step")
