"""Augmentation of one sample: random scale, crop, flip, colour and blur, and the masks of CutMix and ClassMix.

Every function is a pure function of its random generator. All random numbers are params in one fixed order whatever the
settings are, so switching one effect off leaves the others as they were. Scale and crop are one `resize(box=...)`, so
each image is resampled once, and only where it is seen.

CutMix and ClassMix choose pixels by the pasted sample's label (h, w) uint8 alone. Pixels that are ignored in it stay
ignored where they are pasted: they are not trained on, and the label below does not show through.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from autolabel.classes import IGNORE
from autolabel.config.networks import AugmentConfig, StrongConfig
from autolabel.data.loaders import Sample

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
# NTSC's RGB -> YIQ: hue is a rotation in its I-Q plane, so the whole jitter is one matrix.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])

_ROUNDING = 1e-6  # px: rounding errors at a border must not add a row to the view


@dataclass(frozen=True)
class AugmentParams:
    """The random numbers of one sample."""

    scale: float
    position: tuple[float, float]  # position of the crop in its range (y, x), in [0, 1)
    flip: bool
    brightness: float
    contrast: float
    saturation: float
    hue: float  # turns
    blur_sigma: float  # px; 0 = none


def draw_params(settings: AugmentConfig, rng: np.random.Generator) -> AugmentParams:
    u = rng.random(9)
    jitter = settings.colour * (2 * u[4:8] - 1)
    low, high = settings.scale
    sharpest, softest = settings.blur_sigma
    sigma = sharpest + (softest - sharpest) * rng.random()
    return AugmentParams(
        scale=low + (high - low) * u[0],
        position=(u[1], u[2]),
        flip=bool(u[3] < settings.flip),
        brightness=1 + jitter[0],
        contrast=1 + jitter[1],
        saturation=1 + jitter[2],
        hue=jitter[3],
        blur_sigma=sigma if u[8] < settings.blur else 0.0,
    )


def augment(
    sample: Sample,
    *,
    settings: AugmentConfig,
    crop: tuple[int, int],
    centre: tuple[int, int] | None,
    rng: np.random.Generator,
    fill: tuple[int, int, int],
) -> Sample:
    """A random view of a sample, of size `crop` (h, w).

    With a `centre` (y, x) the view shows that pixel. Outside the image the view is `fill` (the mean colour, which is
    zero once normalised) and the label is ignored.
    """
    params = draw_params(settings, rng)
    rows = _span(sample.label.shape[0], crop[0], params.scale, params.position[0], centre and centre[0])
    columns = _span(sample.label.shape[1], crop[1], params.scale, params.position[1], centre and centre[1])
    view = _render(sample.image, rows, columns, params)
    if view.size != (crop[1], crop[0]):
        canvas = Image.new("RGB", (crop[1], crop[0]), fill)
        canvas.paste(view, (columns.start, rows.start))
        view = canvas
    if params.flip:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    def cropped(layer: np.ndarray) -> np.ndarray:
        out = np.full(crop, IGNORE, dtype=np.uint8)
        # Nearest pixel: any other filter invents class ids.
        out[rows.out, columns.out] = layer.take(rows.nearest(), axis=0).take(columns.nearest(), axis=1)
        return np.ascontiguousarray(out[:, ::-1]) if params.flip else out

    confidence = None if sample.confidence is None else cropped(sample.confidence)
    return Sample(np.array(view), cropped(sample.label), confidence)


@dataclass(frozen=True)
class _Span:
    """One axis of a view: the output pixels start .. stop show the source interval low .. high."""

    start: int
    stop: int
    low: float
    high: float

    @property
    def size(self) -> int:
        return self.stop - self.start

    @property
    def out(self) -> slice:
        return slice(self.start, self.stop)

    def nearest(self) -> np.ndarray:
        """The source pixel under the middle of each output pixel."""
        step = (self.high - self.low) / self.size
        pixels: np.ndarray = np.floor(self.low + (np.arange(self.size) + 0.5) * step).astype(np.intp)
        return pixels


def _span(length: int, crop: int, scale: float, position: float, centre: int | None) -> _Span:
    """Place a view of `crop` output pixels at `scale` along an axis of `length` source pixels.

    The view starts on a whole pixel or ends at the border, so at scale 1 a crop is exact, and every pixel can be shown.
    """
    extent = crop / scale  # source pixels under the view
    first, last = sorted((0.0, length - extent))  # a view larger than the image may move around it
    low, high = first, last
    if centre is not None:
        # Any position that shows the pixel, then moved back inside: as in the reference recipe.
        low, high = min(math.ceil(centre + 1 - extent), centre), centre
    origin = min(max(math.floor(low + position * (high - low + 1)), first), last)
    # A border inside an output pixel counts as its edge, so no part of the image is lost to padding.
    start = max(0, math.floor(-origin * scale + _ROUNDING))
    stop = min(crop, math.ceil((length - origin) * scale - _ROUNDING))
    return _Span(start, stop, max(0.0, origin + start / scale), min(float(length), origin + stop / scale))


def _render(image: np.ndarray, rows: _Span, columns: _Span, params: AugmentParams) -> Image.Image:
    view = Image.fromarray(image).resize(
        (columns.size, rows.size), Image.Resampling.BICUBIC, box=(columns.low, rows.low, columns.high, rows.high)
    )
    return _recoloured(view, params)


def _recoloured(view: Image.Image, params: AugmentParams) -> Image.Image:
    if (params.brightness, params.contrast, params.saturation, params.hue) != (1, 1, 1, 0):
        mean = _LUMA @ np.asarray(view.reduce(4) if min(view.size) > 4 else view).mean(axis=(0, 1))
        view = view.convert("RGB", colour_matrix(params, mean))
    if params.blur_sigma:
        view = view.filter(ImageFilter.GaussianBlur(params.blur_sigma))
    return view


def colour_matrix(params: AugmentParams, mean: float) -> tuple[float, ...]:
    """The colour jitter as the 3 x 4 matrix of an affine map of RGB, row by row.

    In this order: saturation * colour + (1 - saturation) * luma; the rotation of the hue in YIQ; contrast about the
    mean luma `mean`; brightness as a factor.
    """
    angle = 2 * math.pi * params.hue
    turn = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    hue = np.linalg.solve(_YIQ, turn @ _YIQ)
    saturation = params.saturation * np.eye(3) + (1 - params.saturation) * _LUMA[None, :]
    matrix = params.brightness * params.contrast * hue @ saturation
    offset = np.full((3, 1), params.brightness * (1 - params.contrast) * mean)
    return tuple(np.hstack([matrix, offset]).ravel().tolist())


def strong_view(
    image: np.ndarray, *, settings: StrongConfig, blur_sigma: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """The image (h, w, 3) uint8 with strong changes of colour and sharpness; the pixels stay where they are.

    The kinds of changes are those of UniMatch (Yang et al., arXiv 2208.09910, section 3.1).
    """
    u = rng.random(7).tolist()
    jitter = [settings.colour * (2 * x - 1) for x in u[:4]]
    params = AugmentParams(
        scale=1.0,
        position=(0.0, 0.0),
        flip=False,
        brightness=1 + jitter[0],
        contrast=1 + jitter[1],
        saturation=0.0 if u[4] < settings.grey else 1 + jitter[2],
        hue=jitter[3] / 2,
        blur_sigma=blur_sigma[0] + (blur_sigma[1] - blur_sigma[0]) * u[6] if u[5] < settings.blur else 0.0,
    )
    return np.array(_recoloured(Image.fromarray(image), params))


def cutmix(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(h, w) bool: a box with the crop's shape, a random centre, and an area that is a uniform fraction of the crop's.

    The box is cut off at the border (Yun et al., arXiv 1905.04899, section 3.1 with alpha = 1).
    """
    area, *centre = rng.random(3)
    mask = np.zeros(label.shape, dtype=bool)
    mask[tuple(_side(n, math.sqrt(area), at) for n, at in zip(label.shape, centre, strict=True))] = True
    return mask


def _side(length: int, fraction: float, centre: float) -> slice:
    middle, half = int(centre * length), int(fraction * length) // 2
    return slice(max(0, middle - half), min(length, middle + half))


def classmix(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(h, w) bool: all pixels of half of the classes present, rounded up (Olsson et al., arXiv 2007.07936).

    Ignored pixels have no class and are never pasted.
    """
    present = np.flatnonzero(np.bincount(label.ravel(), minlength=256)[:IGNORE])
    table = np.zeros(256, dtype=bool)
    table[rng.permutation(present)[: (len(present) + 1) // 2]] = True
    mask: np.ndarray = table[label]
    return mask


Mix = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def draw_mix(settings: AugmentConfig, rng: np.random.Generator) -> Mix | None:
    """Draw how a sample is mixed; None = not at all."""
    u = rng.random()
    if u < settings.cutmix:
        return cutmix
    return classmix if u < settings.cutmix + settings.classmix else None
