"""Layouts that trunks are published in by themselves, as trained on ImageNet, and what lies beside them there.

Which network a checkpoint holds: from its keys and shapes alone, never from the name of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch

from autolabel.config.schema import ModelConfig
from autolabel.errors import ConfigError
from autolabel.models.checkpoint import PREFIX
from autolabel.models.fusion import FUSIONS as ALL_FUSIONS
from autolabel.models.heads import HEADS as ALL_HEADS
from autolabel.models.layers import MEAN, STD
from autolabel.models.published import efficientnet, keymaps
from autolabel.models.published.keymaps import OCR_CONTEXT, AnyRow
from autolabel.models.published.layout import TRUNK_NAME, TRUNKS, names_of
from autolabel.models.published.read import Shapes
from autolabel.models.registry import choose
from autolabel.models.trunks import TRUNKS as BUILDERS
from autolabel.models.trunks.efficientnet import EfficientNet
from autolabel.models.trunks.hrnet import HRNet
from autolabel.models.trunks.resnet import ResNet
from autolabel.models.trunks.wide_resnet import WideResNet

Three = tuple[float, float, float]

# Beside the names a trunk has inside a published network.
OTHER: dict[type, Callable[[Any], tuple[AnyRow, ...]]] = {
    ResNet: lambda trunk: keymaps.RESNET_IMAGENET,
    EfficientNet: efficientnet.timm_rows,
}

# Where it is not that of ImageNet: how images were normalised.
NORMALISATION: dict[type, Callable[[Any], tuple[Three, Three]]] = {EfficientNet: efficientnet.normalisation}

# What classifies images there, and is left out.
CLASSIFIERS = ("classifier.", "fc.", "last_linear.")
MORE_CLASSIFIERS: dict[type, tuple[str, ...]] = {
    HRNet: ("incre_modules.", "downsamp_modules.", "final_layer.", "last_layer."),
    WideResNet: ("bn_out.",),
    EfficientNet: efficientnet.CLASSIFIERS,
}

# An entry that tells a relative which does not fit, and why it does not.
RELATIVES = {
    "conv1.0.weight": "its stem is three 3x3 convolutions (ResNet-C and -D), ours is one 7x7",
    "mod2.block1.bn1.weight": "its norms have an activation of their own (in-place ABN), ours a ReLU",
}


class TrunkLayout(NamedTuple):
    """One way that files name the entries of a trunk."""

    trunk: str
    names: Mapping[str, str]  # our key -> the file's
    state: Mapping[str, torch.Tensor]  # under our keys, without memory
    classifiers: tuple[str, ...]  # beginnings of keys
    taps: bool  # gives low-level features apart
    mean: Three = MEAN
    std: Three = STD

    @property
    def shapes(self) -> Shapes:
        return {self.names[key]: tuple(value.shape) for key, value in self.state.items()}


@cache
def trunk_layouts(name: str) -> tuple[TrunkLayout, ...]:
    """All of them, the one it has inside a network first; none where no layout is published."""
    with torch.device("meta"):
        trunk = BUILDERS[name]()
    kind = type(trunk)
    if kind not in TRUNKS:
        return ()
    state = trunk.state_dict(prefix=PREFIX)
    classifiers = CLASSIFIERS + MORE_CLASSIFIERS.get(kind, ())
    found = []
    mean, std = NORMALISATION[kind](trunk) if kind in NORMALISATION else (MEAN, STD)
    for rows in (TRUNKS[kind], *((OTHER[kind](trunk),) if kind in OTHER else ())):
        names = {key: their.removeprefix(f"{TRUNK_NAME}.") for key, their in names_of(trunk, rows, PREFIX).items()}
        found.append(TrunkLayout(name, names, state, classifiers, bool(trunk.taps), mean, std))
    return tuple(found)


def known_incompatibility(weights: Collection[str]) -> str:
    """What is known of a relative's file; empty where nothing is."""
    return next((f": {why}" for key, why in RELATIVES.items() if key in weights), "")


TRUNK_PREFIXES = ("backbone.", "trunk.")
# A trunk dilated instead of strided has the same entries: the plain one stands for it.
NOT_DILATED = [name for name in BUILDERS if name.rpartition("_os")[0] not in BUILDERS]


class HeadClues(NamedTuple):
    """Entries whose first dimension says how many classes a head has and how wide it is."""

    classes: str
    widths: Mapping[str, str]  # setting -> entry
    taps: bool  # needs a trunk that gives low-level features apart


HEADS = {
    "ocr": HeadClues(
        "ocr.cls_head.weight",
        {"head_channels": "ocr.conv3x3_ocr.0.weight", "key_channels": f"{OCR_CONTEXT}.f_down.0.weight"},
        taps=False,
    ),
    "conv": HeadClues("seg_head.6.weight", {"key_channels": "seg_head.0.weight"}, taps=False),
    "deeplabv3plus": HeadClues("final.6.weight", {"key_channels": "bot_aspp.weight"}, taps=True),
    "deeper": HeadClues("conv_up5.weight", {"key_channels": "conv_up1.weight"}, taps=True),
}


class FusionClues(NamedTuple):
    """Convolutions of an attention head; the first is `times` as wide as `attention_channels`."""

    convolutions: tuple[str, ...]
    times: int


FUSIONS = {
    "hierarchical": FusionClues(tuple(f"scale_attn.conv{i}.weight" for i in range(3)), 1),
    "explicit": FusionClues(("scale_attn.0.weight", "scale_attn.2.weight"), 2),
}


# Names that NVIDIA/semantic-segmentation gives its networks.
PUBLISHED = {
    ("hrnet_w48", "ocr", "hierarchical"): "ocrnet.HRNet_Mscale",
    ("hrnet_w48", "ocr", "single"): "ocrnet.HRNet",
    ("hrnet_w48", "conv", "single"): "basic.HRNet",
    ("resnet50", "deeplabv3plus", "hierarchical"): "mscale.DeepV3R50",
    ("wide_resnet38", "deeplabv3plus", "hierarchical"): "mscale.DeepV3W38",
    ("xception71", "deeplabv3plus", "hierarchical"): "mscale.DeepV3X71",
    ("resnet50", "deeplabv3plus", "single"): "deepv3.DeepV3PlusR50",
    ("wide_resnet38", "deeplabv3plus", "single"): "deepv3.DeepV3PlusW38",
    ("xception71", "deeplabv3plus", "single"): "deepv3.DeepV3PlusX71",
    ("resnet50", "deeplabv3plus", "explicit"): "attnscale.DeepV3R50",
    ("wide_resnet38", "deeper", "single"): "deeper.DeeperW38",
    ("xception71", "deeper", "single"): "deeper.DeeperX71",
}


class Choice(NamedTuple):
    """What the user says the network is; None: found out."""

    trunk: str | None = None
    head: str | None = None
    fusion: str | None = None


class Network(NamedTuple):
    """The closest network: whether it fits is for `check_entries` to say."""

    table: ModelConfig
    num_classes: int

    @property
    def name(self) -> str:
        parts = (self.table.trunk, self.table.head, self.table.fusion)
        return PUBLISHED.get(parts, " + ".join(parts))


def check_choice(choice: Choice) -> None:
    """ConfigError for names that are not known, or of which no layout is."""
    known: dict[str, dict[str, Any]] = {"trunk": BUILDERS, "head": HEADS, "fusion": ALL_FUSIONS}
    ours: dict[str, Collection[str]] = {"trunk": BUILDERS, "head": ALL_HEADS, "fusion": ALL_FUSIONS}
    for kind, name in choice._asdict().items():
        if name in ours[kind] and name not in known[kind]:
            what = f"no published layout of the {kind} {name!r} is known"
            raise ConfigError(f"--{kind}", what, f"one of: {', '.join(sorted(known[kind]))}")
        if name is not None:
            choose(kind, name, known[kind])


def closest_network(shapes: Shapes, choice: Choice) -> Network | None:
    """The network whose keys and shapes are nearest; None where nothing of a head is there: a trunk alone."""
    found = _head(shapes)
    if found is None:
        return None
    head = choice.head or found
    clues = HEADS[head]
    fusion = choice.fusion or _fusion(shapes)
    inside = {key.partition(".")[2]: shape for key, shape in shapes.items() if key.startswith(TRUNK_PREFIXES)}
    trunk = choice.trunk or _closest(inside, _published(taps=clues.taps)).trunk
    widths = {setting: _first(shapes, entry) for setting, entry in clues.widths.items()}
    if fusion in FUSIONS:
        (entry, *_), times = FUSIONS[fusion]
        widths["attention_channels"] = _first(shapes, entry) // times
    known = {setting: width for setting, width in widths.items() if width}
    table = ModelConfig.model_validate({"trunk": trunk, "head": head, "fusion": fusion, **known})
    return Network(table, max(1, _first(shapes, clues.classes)))


def closest_trunk(shapes: Shapes, choice: Choice) -> TrunkLayout:
    """The layout that is nearest to a file of a trunk alone."""
    names = [choice.trunk] if choice.trunk else NOT_DILATED
    return _closest(shapes, [layout for name in names for layout in trunk_layouts(name)])


def _closest(shapes: Shapes, layouts: Iterable[TrunkLayout]) -> TrunkLayout:
    """The most alike; of equals the first."""
    return max(layouts, key=lambda layout: similarity(shapes, layout.shapes))


def similarity(shapes: Shapes, others: Shapes) -> float:
    """From 0 to 1: share of the keys that both have, those of the same shape counting in full, the others half."""
    both = shapes.keys() & others.keys()
    same = sum(shapes[key] == others[key] for key in both)
    return (len(both) + same) / max(1, 2 * len(shapes.keys() | others.keys()))


def _published(*, taps: bool) -> list[TrunkLayout]:
    """The layout that every trunk has inside a network."""
    found = [layouts[0] for name in NOT_DILATED if (layouts := trunk_layouts(name))]
    return [layout for layout in found if layout.taps or not taps]


def _head(shapes: Shapes) -> str | None:
    return _most(shapes, {name: (clues.classes, *clues.widths.values()) for name, clues in HEADS.items()})


def _fusion(shapes: Shapes) -> str:
    return _most(shapes, {name: clues.convolutions for name, clues in FUSIONS.items()}) or "single"


def _most(shapes: Shapes, clues: Mapping[str, Sequence[str]]) -> str | None:
    """Of which the most entries are there; None where none is."""
    found = {name: sum(entry in shapes for entry in entries) for name, entries in clues.items()}
    best = max(found, key=lambda name: found[name])
    return best if found[best] else None


def _first(shapes: Shapes, entry: str) -> int:
    """The first dimension of an entry; 0 where there is none."""
    return (shapes.get(entry) or (0,))[0]
