"""Detects which network a checkpoint holds, from its keys and shapes alone, never from the file name.

It also knows the layouts of trunks that were published alone, trained on ImageNet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch

from autolabel.config.networks import ModelConfig
from autolabel.errors import ConfigError
from autolabel.models.checkpoint import PREFIX
from autolabel.models.fusion import FUSIONS as ALL_FUSIONS
from autolabel.models.heads import HEADS as ALL_HEADS
from autolabel.models.layers import MEAN, STD
from autolabel.models.lookup import choose
from autolabel.models.published import efficientnet, keymaps
from autolabel.models.published.keymaps import OCR_CONTEXT, AnyRow
from autolabel.models.published.layout import TRUNK_NAME, TRUNKS, names_of
from autolabel.models.published.read import Shapes
from autolabel.models.skeleton import on_meta
from autolabel.models.trunks import TRUNKS as BUILDERS
from autolabel.models.trunks.efficientnet import EfficientNet
from autolabel.models.trunks.hrnet import HRNet
from autolabel.models.trunks.resnet import ResNet
from autolabel.models.trunks.wide_resnet import WideResNet

Three = tuple[float, float, float]

# Further layouts of a trunk, besides its names inside a published network.
OTHER: dict[type, Callable[[Any], tuple[AnyRow, ...]]] = {
    ResNet: lambda trunk: keymaps.RESNET_IMAGENET,
    EfficientNet: efficientnet.timm_rows,
}

# Normalisation of images, where it is not that of ImageNet.
NORMALISATION: dict[type, Callable[[Any], tuple[Three, Three]]] = {EfficientNet: efficientnet.normalisation}

# Prefixes of the image classifier, which is left out.
CLASSIFIERS = ("classifier.", "fc.", "last_linear.")
MORE_CLASSIFIERS: dict[type, tuple[str, ...]] = {
    HRNet: ("incre_modules.", "downsamp_modules.", "final_layer.", "last_layer."),
    WideResNet: ("bn_out.",),
    EfficientNet: efficientnet.CLASSIFIERS,
}

# An entry of a similar network that does not fit -> the reason.
RELATIVES = {
    "conv1.0.weight": "its stem is three 3x3 convolutions (ResNet-C and -D), ours is one 7x7",
    "mod2.block1.bn1.weight": "its norms have an activation of their own (in-place ABN), ours a ReLU",
}


class TrunkLayout(NamedTuple):
    """One naming of the entries of a trunk in files."""

    trunk: str
    names: Mapping[str, str]  # our key -> the key in the file
    state: Mapping[str, torch.Tensor]  # under our keys, on the meta device
    classifiers: tuple[str, ...]  # prefixes of keys
    has_skips: bool  # the trunk has skip connections
    mean: Three = MEAN
    std: Three = STD

    @property
    def shapes(self) -> Shapes:
        return {self.names[key]: tuple(value.shape) for key, value in self.state.items()}


@cache
def trunk_layouts(name: str) -> tuple[TrunkLayout, ...]:
    """All layouts of a trunk, first the one inside a published network; empty if none is published."""
    with on_meta():
        trunk = BUILDERS[name]()
    family = type(trunk)
    if family not in TRUNKS:
        return ()
    state = trunk.state_dict(prefix=PREFIX)
    classifiers = CLASSIFIERS + MORE_CLASSIFIERS.get(family, ())
    layouts = []
    mean, std = NORMALISATION[family](trunk) if family in NORMALISATION else (MEAN, STD)
    for rows in (TRUNKS[family], *((OTHER[family](trunk),) if family in OTHER else ())):
        names = {key: name.removeprefix(f"{TRUNK_NAME}.") for key, name in names_of(trunk, rows, PREFIX).items()}
        layouts.append(TrunkLayout(name, names, state, classifiers, bool(trunk.skip_channels), mean, std))
    return tuple(layouts)


def known_incompatibility(weights: Collection[str]) -> str:
    """Why a checkpoint of a similar network does not fit; empty if it is not known."""
    return next((f": {why}" for key, why in RELATIVES.items() if key in weights), "")


TRUNK_PREFIXES = ("backbone.", "trunk.")
# A dilated trunk has the same entries as the undilated one, which stands for both.
NOT_DILATED = [name for name in BUILDERS if name.rpartition("_os")[0] not in BUILDERS]


class HeadClues(NamedTuple):
    """Entries whose first dimension is the number of classes or a width of a head."""

    classes: str
    widths: Mapping[str, str]  # setting -> entry
    needs_skips: bool  # the trunk must have skip connections


HEADS = {
    "ocr": HeadClues(
        "ocr.cls_head.weight",
        {"head_channels": "ocr.conv3x3_ocr.0.weight", "key_channels": f"{OCR_CONTEXT}.f_down.0.weight"},
        needs_skips=False,
    ),
    "conv": HeadClues("seg_head.6.weight", {"key_channels": "seg_head.0.weight"}, needs_skips=False),
    "deeplabv3plus": HeadClues("final.6.weight", {"key_channels": "bot_aspp.weight"}, needs_skips=True),
    "deeper": HeadClues("conv_up5.weight", {"key_channels": "conv_up1.weight"}, needs_skips=True),
}


class FusionClues(NamedTuple):
    """Convolutions of an attention head; the width of the first is `times` x `attention_channels`."""

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
    """The user's choice of network; None: detect it."""

    trunk: str | None = None
    head: str | None = None
    fusion: str | None = None


class Network(NamedTuple):
    """The closest network; `check_entries` decides whether it fits."""

    table: ModelConfig
    num_classes: int

    @property
    def name(self) -> str:
        parts = (self.table.trunk, self.table.head, self.table.fusion)
        return PUBLISHED.get(parts, " + ".join(parts))


def check_choice(choice: Choice) -> None:
    """ConfigError for unknown names, and for names without a published layout."""
    known: dict[str, dict[str, Any]] = {"trunk": BUILDERS, "head": HEADS, "fusion": ALL_FUSIONS}
    ours: dict[str, Collection[str]] = {"trunk": BUILDERS, "head": ALL_HEADS, "fusion": ALL_FUSIONS}
    for kind, name in choice._asdict().items():
        if name in ours[kind] and name not in known[kind]:
            what = f"the {kind} {name!r} has no known published layout"
            raise ConfigError(f"--{kind}", what, f"one of: {', '.join(sorted(known[kind]))}")
        if name is not None:
            choose(kind, name, known[kind])


def closest_network(shapes: Shapes, choice: Choice) -> Network | None:
    """The network with the most similar keys and shapes; None if there is no head: the file holds a trunk alone."""
    detected = _head(shapes)
    if detected is None:
        return None
    head = choice.head or detected
    clues = HEADS[head]
    fusion = choice.fusion or _fusion(shapes)
    inside = {key.partition(".")[2]: shape for key, shape in shapes.items() if key.startswith(TRUNK_PREFIXES)}
    trunk = choice.trunk or _closest(inside, _published(needs_skips=clues.needs_skips)).trunk
    widths = {setting: _first(shapes, entry) for setting, entry in clues.widths.items()}
    if fusion in FUSIONS:
        (entry, *_), times = FUSIONS[fusion]
        widths["attention_channels"] = _first(shapes, entry) // times
    known = {setting: width for setting, width in widths.items() if width}
    table = ModelConfig.model_validate({"trunk": trunk, "head": head, "fusion": fusion, **known})
    return Network(table, max(1, _first(shapes, clues.classes)))


def closest_trunk(shapes: Shapes, choice: Choice) -> TrunkLayout:
    """The most similar layout for a file that holds a trunk alone."""
    names = [choice.trunk] if choice.trunk else NOT_DILATED
    return _closest(shapes, [layout for name in names for layout in trunk_layouts(name)])


def _closest(shapes: Shapes, layouts: Iterable[TrunkLayout]) -> TrunkLayout:
    """The most similar layout; the first of equals."""
    return max(layouts, key=lambda layout: similarity(shapes, layout.shapes))


def similarity(shapes: Shapes, others: Shapes) -> float:
    """Fraction of all keys that both have, in [0, 1]; a key with another shape counts half."""
    both = shapes.keys() & others.keys()
    same = sum(shapes[key] == others[key] for key in both)
    return (len(both) + same) / max(1, 2 * len(shapes.keys() | others.keys()))


def _published(*, needs_skips: bool) -> list[TrunkLayout]:
    """The layouts of trunks inside a published network."""
    inside = [layouts[0] for name in NOT_DILATED if (layouts := trunk_layouts(name))]
    return [layout for layout in inside if layout.has_skips or not needs_skips]


def _head(shapes: Shapes) -> str | None:
    return _most(shapes, {name: (clues.classes, *clues.widths.values()) for name, clues in HEADS.items()})


def _fusion(shapes: Shapes) -> str:
    return _most(shapes, {name: clues.convolutions for name, clues in FUSIONS.items()}) or "single"


def _most(shapes: Shapes, clues: Mapping[str, Sequence[str]]) -> str | None:
    """The name with the most entries present; None if none is."""
    counts = {name: sum(entry in shapes for entry in entries) for name, entries in clues.items()}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else None


def _first(shapes: Shapes, entry: str) -> int:
    """The first dimension of an entry; 0 if it is missing."""
    return (shapes.get(entry) or (0,))[0]
