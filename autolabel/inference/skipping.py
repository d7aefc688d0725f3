"""Attention-guided skipping: the head of the highest scale runs only where the lower scales leave it a say.

Lower scales run first. The weight that their attention leaves, w = prod (1 - a_s), bounds what the highest scale can
do: it moves the fused logits by w times what it differs. A winner that leads by the margin m is safe from differences
below m / w, so a pixel's need is w c / (m + c) in [0, 1], with c = `LOGITS`: w itself where two classes tie, less the
clearer the case. A tile is computed if at least a tenth of its pixels need it by `skip` or more.

Where it is left out, the attention of the next lower scale counts as 1: the weight goes to that scale. No other form
of the fusion is needed. What is computed sees the whole picture, no tile of it: the trunk runs whole (but not for a
picture that needs no tile), and the class vectors of OCR are pooled over the computed tiles and samples of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autolabel.inference.branch_conv import TILE  # of the head's maps: 64 pixels of the image at stride 4
from autolabel.inference.lean_ocr import LeanOCR
from autolabel.inference.multiscale import highest_first, mirrored
from autolabel.inference.skip_stats import Skipped
from autolabel.inference.tiles import Patches
from autolabel.models import SegmentationModel
from autolabel.models.fusion import RawMaps, ScaleMaps
from autolabel.models.resize import resize, scaled_size

SAMPLE = 2  # of a tile that is left out, its middle tells what OCR pools
LOGITS = 0.3  # a lead that does not count as clear
TENTH = 0.9  # quantile of a tile's pixels that decides
_QUANTILES = 1 << 15  # tiles at once: torch takes no more than 2^24 pixels
NEARLY_ALL = 0.7  # of the tiles: from there on the whole pass is as fast


class Tiling(NamedTuple):
    """Which tiles of a batch's highest scale are computed."""

    needed: np.ndarray  # (B, rows, columns) bool
    size: tuple[int, int]  # of the head's map

    @property
    def mask(self) -> np.ndarray:
        """(B, h, w) of the head's map."""
        height, width = self.size
        return self.needed.repeat(TILE, axis=1).repeat(TILE, axis=2)[:, :height, :width]

    def patches(self, images: np.ndarray, *, needed: bool) -> Patches:
        """The tiles of these images that are, or are not, computed."""
        image, row, column = np.nonzero(self.needed[images] == needed)
        return Patches(image, row * TILE, column * TILE, TILE)


def skipping_view(
    model: SegmentationModel, images: Tensor, scales: Sequence[float], skip: float
) -> tuple[list[RawMaps], Skipped]:
    """As `model.raw_maps` of a prepared model (hierarchical fusion, OCR over HRNet), scales from high to low, but with
    tiles of the highest left out; and how many of its pixels were. One scale alone is computed whole."""
    model.fusion.check(scales)
    assert isinstance(model.head, LeanOCR), type(model.head)
    assert model.fusion.attends
    top, *lower = scales
    size = scaled_size((images.shape[-2], images.shape[-1]), top)
    if not lower:
        return model.raw_maps(images, scales), Skipped(0, len(images) * size[0] * size[1])
    below = [_pass(model, images, scale) for scale in lower]
    tiling = needed_tiles(model, below, size, skip)
    if tiling.needed.all():
        highest = model.evidence(resize(images, size), attention=False).logits
        return [RawMaps(top, highest, None, size, size), *below], _count(tiling, size)
    next_lower, *rest = below
    highest = _highest(model, resize(images, size), next_lower, tiling)
    left_out = torch.from_numpy(~tiling.mask[:, None]).to(highest)
    return [RawMaps(top, highest, None, size, size), _trusted(next_lower, left_out), *rest], _count(tiling, size)


def skipping_views(
    model: SegmentationModel, images: Tensor, scales: Sequence[float], *, flip: bool, skip: float
) -> tuple[list[list[RawMaps]], Skipped]:
    """As `multiscale.raw_views`; each view leaves out what it does not need itself."""
    ordered = highest_first(scales)
    view, skipped = skipping_view(model, images, ordered, skip)
    if not flip:
        return [view], skipped
    other, also = skipping_view(model, images.flip(-1), ordered, skip)
    return [view, [mirrored(raw) for raw in other]], skipped.plus(also)


def needed_tiles(model: SegmentationModel, below: Sequence[RawMaps], size: tuple[int, int], skip: float) -> Tiling:
    """Tiles of the scale above those of `below`, whose image has this size; all of an image that needs nearly all."""
    need = _need(model, below, size)  # (B, 1, h, w)
    height, width = need.shape[-2:]
    edges = (0, -width % TILE, 0, -height % TILE)
    tiles = F.pad(need, edges, value=torch.nan).unfold(2, TILE, TILE).unfold(3, TILE, TILE).flatten(-2)[:, 0]
    decisive = [part.nanquantile(TENTH, dim=-1) for part in tiles.flatten(0, 2).split(_QUANTILES)]
    needed = (torch.cat(decisive) >= skip).view(tiles.shape[:3]).cpu().numpy()  # (B, rows, columns)
    needed |= (needed.mean(axis=(1, 2)) >= NEARLY_ALL)[:, None, None]
    return Tiling(needed, (height, width))


def _need(model: SegmentationModel, below: Sequence[RawMaps], size: tuple[int, int]) -> Tensor:
    stride = model.head.stride
    raw = -(-size[0] // stride), -(-size[1] // stride)
    maps = [ScaleMaps(m.scale, m.logits.float(), None if m.attention is None else m.attention.float()) for m in below]
    above = ScaleMaps(torch.inf, maps[0].logits.new_ones((len(maps[0].logits), 1, *raw)), None)
    weight = resize(model.fusion.weights([above, *maps])[above.scale], raw)
    leading = model.fusion.fuse(maps).topk(min(2, model.num_classes), dim=1).values
    return weight * LOGITS / (resize(leading[:, :1] - leading[:, -1:], raw) + LOGITS)


def _highest(model: SegmentationModel, images: Tensor, lower: RawMaps, tiling: Tiling) -> Tensor:
    """Logits (B, K, h, w): whole, in tiles or not at all, image by image; the rest is the lower scale's."""
    logits = resize(lower.logits, tiling.size)
    share = tiling.needed.mean(axis=(1, 2))
    whole, some = np.flatnonzero(share == 1), np.flatnonzero((share > 0) & (share < 1))
    if len(whole):
        logits[whole] = model.evidence(images[whole], attention=False).logits
    if len(some):
        branches = model.trunk(images[some].contiguous(memory_format=torch.channels_last))
        _write_tiles(cast(LeanOCR, model.head), branches, tiling, some, logits)
    return logits


def _write_tiles(head: LeanOCR, branches: Sequence[Tensor], tiling: Tiling, some: np.ndarray, logits: Tensor) -> None:
    """`branches` are of the images `some` of the batch that `logits` is of."""
    height, width = tiling.size
    tiles, others = tiling.patches(some, needed=True), _middles(tiling.patches(some, needed=False), tiling.size)
    features, aux = head.patches(branches, tiles)
    sampled, sampled_aux = head.patches(branches, others)
    inside, worth = tiles.inside(height, width), _worth(others, tiling.size)
    for number, image in enumerate(some):
        mine, beside = np.flatnonzero(tiles.image == number), np.flatnonzero(others.image == number)
        pooled = torch.cat([_pixels(features[mine]), _pixels(sampled[beside])])
        weight = np.concatenate([inside[mine].ravel().astype(np.float32), worth[beside].ravel()])
        regions = torch.cat([_pixels(aux[mine]), _pixels(sampled_aux[beside])]).float()  # (pixels, K)
        regions = (regions + torch.from_numpy(weight).to(regions).log()[:, None]).softmax(dim=0).to(pooled)
        found = head.classified(features[mine], (pooled.T @ regions)[None, :, :, None])  # (n, K, s, s)
        for tile, top, left in zip(found, tiles.top[mine], tiles.left[mine], strict=True):
            target = logits[image, :, top : top + TILE, left : left + TILE]
            target.copy_(tile[:, : target.shape[1], : target.shape[2]])


def _pixels(patches: Tensor) -> Tensor:
    """(n, C, s, s) -> (n s s, C)"""
    return patches.permute(0, 2, 3, 1).flatten(0, 2)


def _middles(tiles: Patches, size: tuple[int, int]) -> Patches:
    """The middle of what lies on the map."""
    height, width = size
    top = tiles.top + np.maximum(0, np.minimum(TILE, height - tiles.top) - SAMPLE) // 2
    left = tiles.left + np.maximum(0, np.minimum(TILE, width - tiles.left) - SAMPLE) // 2
    return Patches(tiles.image, top, left, SAMPLE)


def _worth(samples: Patches, size: tuple[int, int]) -> np.ndarray:
    """(n, SAMPLE, SAMPLE) float32: the pixels of its tile that each sampled pixel stands for, 0 outside the map."""
    inside = samples.inside(*size).astype(np.float32)
    rows = np.minimum(TILE, size[0] - samples.top // TILE * TILE)
    columns = np.minimum(TILE, size[1] - samples.left // TILE * TILE)
    return inside * (rows * columns / inside.sum(axis=(1, 2))).astype(np.float32)[:, None, None]


def _pass(model: SegmentationModel, images: Tensor, scale: float) -> RawMaps:
    size = scaled_size((images.shape[-2], images.shape[-1]), scale)
    out = model.evidence(resize(images, size))
    return RawMaps(scale, out.logits, out.attention, size, size)


def _trusted(raw: RawMaps, left_out: Tensor) -> RawMaps:
    """Attention 1 where `left_out` (B, 1, h, w), of the scale above, is 1."""
    assert raw.attention is not None
    here = F.interpolate(left_out, size=raw.attention.shape[-2:], mode="nearest").bool()
    return raw._replace(attention=raw.attention.masked_fill(here, 1))


def _count(tiling: Tiling, size: tuple[int, int]) -> Skipped:
    """Of the scale's image, to a pixel."""
    rows, columns = (
        np.diff(np.append(np.arange(count) * (length * TILE / of), length))
        for count, length, of in zip(tiling.needed.shape[1:], size, tiling.size, strict=True)
    )
    skipped = (~tiling.needed * rows[:, None] * columns).sum()
    return Skipped(round(skipped), len(tiling.needed) * size[0] * size[1])
