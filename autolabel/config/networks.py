"""Settings of networks and their training: the tables `[teacher]` and `[student]`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from autolabel.config.base import Config, Fraction, Layers, NonNegativeInt, PositiveInt


def _check_mix_probabilities(classmix: float, info: ValidationInfo) -> float:
    if classmix + info.data.get("cutmix", 0.0) > 1:
        raise ValueError("cutmix and classmix exclude each other: their probabilities may add up to 1 at most")
    return classmix


def _random_is_none(weights: object) -> object:
    """Treat "random" like leaving `weights` out: both are the same experiment."""
    return None if weights == "random" else weights


HUB = "hf:"  # begins a hub id, which is no path


def _check_hub_id(weights: object) -> object:
    if isinstance(weights, str) and weights.startswith(HUB) and not re.fullmatch(_HUB_ID, weights):
        raise ValueError("weights of the hub are named hf:OWNER/NAME")
    return weights


_HUB_ID = rf"{HUB}[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?"
HubId = Annotated[str, Field(pattern=f"^{_HUB_ID}$")]
InitialWeights = Annotated[
    Literal["imagenet"] | HubId | Path | None, BeforeValidator(_random_is_none), BeforeValidator(_check_hub_id)
]


TEACHER_WEIGHTS = "teacher"  # of `student.weights`: those of the network that made its auto labels
StudentInitialWeights = Annotated[
    Literal["imagenet", "teacher"] | HubId | Path | None,
    BeforeValidator(_random_is_none),
    BeforeValidator(_check_hub_id),
]


class ModelConfig(Config):
    """The network: a trunk, a head and a fusion of scales; head widths default to the published ones."""

    trunk: str = "hrnet_w48"  # The feature extractor; docs/models.md lists them.
    head: str = "ocr"  # The head that turns features into class logits; docs/models.md lists them.
    # How predictions at several scales are combined: by learnt attention ("hierarchical", "explicit"), by their mean
    # ("average"), or trained on a single scale ("single").
    fusion: str = "hierarchical"
    head_channels: PositiveInt = 512  # Channels of OCR's pixel features.
    key_channels: PositiveInt = 256  # Channels of OCR's object context, or the width of another head.
    attention_channels: PositiveInt = 256  # Channels of the scale attention.
    # Explicit fusion takes a softmax over the scales (Chen et al.); published weights do without.
    softmax: bool = False
    dropout: Fraction = 0.05  # Dropout probability in the head.
    low_scale: Annotated[float, Field(gt=0, lt=1)] = 0.5  # The lower of the two scales in training.


class AugmentConfig(Config):
    """Random changes to the training samples."""

    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.5, 2.0)  # Range of the scale.
    flip: Fraction = 0.5  # Probability of a horizontal flip.
    # Strength of the random changes of brightness, contrast, saturation and hue.
    colour: Annotated[float, Field(ge=0, lt=1)] = 0.25
    blur: Fraction = 0.0  # Probability of a Gaussian blur.
    # Range of the blur's sigma in pixels.
    blur_sigma: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.15, 1.3)
    cutmix: Fraction = 0.0  # Probability that a box of another sample is pasted onto a sample.
    # Probability that half of the classes of another sample are pasted onto a sample.
    classmix: Annotated[Fraction, AfterValidator(_check_mix_probabilities)] = 0.0


class PhaseConfig(Config):
    """A number of epochs and the label layers that their samples come from."""

    layers: Layers  # Label layers of the images that are drawn evenly.
    uniform: Layers | None = None  # Label layers of the class-uniform draws; the same as `layers` by default.
    epochs: PositiveInt | None = None  # Number of epochs; one phase may leave it out and takes the rest.


def _check_phase_epochs(phases: tuple[PhaseConfig, ...], info: ValidationInfo) -> tuple[PhaseConfig, ...]:
    epochs, per_phase = info.data.get("epochs"), [phase.epochs for phase in phases]
    if not phases or epochs is None:  # None: `epochs` itself is invalid, which is reported already
        return phases
    fixed, num_open = sum(number or 0 for number in per_phase), per_phase.count(None)
    if num_open > 1 or fixed + num_open > epochs or (num_open == 0 and fixed != epochs):
        raise ValueError(f"phases must add up to epochs = {epochs}; one of them may leave out its number")
    return phases


class FreezeConfig(Config):
    """Parts of the trunk that keep their initial weights. Use it with pretrained weights only."""

    stride: Literal[0, 2, 4, 8, 16] = 0  # The trunk's layers up to this stride are frozen; 0 = none.
    norms: bool = False  # Batch norms of the trunk keep their statistics, scale and shift.
    # Depthwise convolutions of the trunk keep their weights; the gradient of these is most of a step on a CPU.
    depthwise: bool = False

    @property
    def is_any(self) -> bool:
        return bool(self.stride or self.norms or self.depthwise)


def _check_smoothing(smoothing: float, info: ValidationInfo) -> float:
    if smoothing and info.data.get("loss") not in ("ce", None):
        raise ValueError('label smoothing is for loss = "ce"')
    return smoothing


Spread = Annotated[float, Field(gt=0)]
ClassWeightPower = Annotated[float, Field(ge=0, le=2)]


class TrainConfig(Config):
    """How a network is trained; teacher and student share it."""

    added_later = frozenset({"loss_over"})

    model: ModelConfig = ModelConfig()
    # The initial weights: a weights file, "imagenet" (the trunk's weights from the extra `pretrained`), "hf:OWNER/NAME"
    # (a trunk that `autolabel fetch` brought) or "random". The digest of the file enters the stage key, not its path.
    weights: InitialWeights = None
    # A Hugging Face model to start from: a folder, or a hub id in the cache (`autolabel fetch`). It replaces `model`.
    huggingface: str | None = None
    # Class name of the Hugging Face model -> our class name, "" = none. Equal names need no entry.
    class_map: dict[str, str] = Field(default_factory=dict)
    crop: tuple[PositiveInt, PositiveInt] = (1024, 2048)  # Height and width of a training crop in pixels.
    batch: PositiveInt = 8  # Number of crops in a batch, over all devices and accumulation steps.
    epochs: NonNegativeInt = 175  # Number of epochs; 0 uses the initial weights without training.
    # Number of images drawn in an epoch; by default as many as have fine labels.
    epoch_images: PositiveInt | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"  # The optimizer; "adamw" with a small lr for Hugging Face models.
    lr: Annotated[float, Field(gt=0)] = 5e-3  # The peak learning rate.
    momentum: Fraction = 0.9  # Momentum of SGD.
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4  # Weight decay.
    poly_power: Annotated[float, Field(ge=0)] = 2.0  # Power of the polynomial learning-rate decay.
    warmup: Fraction = 0.0  # Fraction of all steps over which the learning rate rises.
    # Factor of the trunk's learning rate. Pretrained weights need smaller steps than a fresh head.
    trunk_lr: Annotated[float, Field(gt=0)] = 1.0
    clip_grad: Annotated[float, Field(ge=0)] = (
        0.0  # Largest norm of a step's gradient; a longer one is scaled; 0 = off.
    )
    # The main loss: cross-entropy ("ce"), that with the Lovász-Softmax loss, which stands in for the IoU ("lovasz"),
    # binary cross-entropy per class ("bce"), or that with region mutual information ("rmi"), which also compares
    # neighbouring pixels and costs time.
    loss: Literal["rmi", "bce", "ce", "lovasz"] = "rmi"
    # The loss is divided by the number of labelled pixels, or by that of all pixels: few sure pixels then count little.
    loss_over: Literal["labelled", "all"] = "labelled"
    # Power p of the class weights frequency^-p in the loss, at the first and the last step; 0 = equal weights. The
    # frequencies are those of the fine labels.
    class_weights: tuple[ClassWeightPower, ClassWeightPower] = (0.0, 0.0)
    label_smoothing: Annotated[float, Field(ge=0, lt=1), AfterValidator(_check_smoothing)] = (
        0.0  # Fraction of each pixel's target that is spread over all classes; only for loss = "ce".
    )
    # The loss leaves out pixels whose class already has this probability (hard example mining); 1 = off.
    hard_below: Annotated[float, Field(gt=0, le=1)] = 1.0
    aux_weight: Annotated[float, Field(ge=0)] = 0.4  # Weight of the auxiliary head's loss.
    scale_weight: Annotated[float, Field(ge=0)] = 0.05  # Weight of the loss of each single scale.
    decay_norms: bool = False  # Weight decay also applies to biases and to the scale and shift of norms, as published.
    # Fraction of an epoch that comes from finely labelled images; by default all images are drawn alike.
    fine_share: Fraction | None = None
    class_uniform: Fraction = 0.5  # Fraction of an epoch that is drawn uniformly over the classes.
    # Classes that are drawn class-uniformly from coarse and auto labels too; all classes by default.
    uniform_classes: tuple[str, ...] | None = None
    # Label layers over the epochs, phase by phase; by default every epoch draws from all layers.
    phases: Annotated[tuple[PhaseConfig, ...], AfterValidator(_check_phase_epochs)] = ()
    tile: PositiveInt = 1024  # Side in pixels of the tiles that class-uniform crops are centred in.
    augment: AugmentConfig = AugmentConfig()
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"  # Number format of training; fp64 is slow, for checks.
    # Batch norm keeps the statistics of the initial weights; its scale and shift still train.
    freeze_norms: bool = False
    freeze: FreezeConfig = FreezeConfig()
    sync_norms: bool = True  # Batch norm computes its statistics over all processes, on GPUs only.
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # Decay of the exponential moving average of the weights; 0 = off.
    # Number of epochs between validations. 0 = the one at the end decides; up to three before it only show progress.
    validate_every: NonNegativeInt = 0
    validate_images: PositiveInt | None = None  # Number of validation images; all by default.
    keep_best: bool = False  # The weights with the best validation mIoU are kept, instead of the last ones.
    patience: NonNegativeInt = 0  # Training stops after this many validations without a better mIoU; 0 = never.
    checkpoint_every: PositiveInt = 100  # Number of steps between checkpoints.
    max_nan: PositiveInt = 10  # Training stops after this many non-finite losses in a row.


Triple = tuple[float, float, float]


class ForeignConfig(Config):
    """A teacher of another framework, read from an ONNX file or from arrays that it wrote."""

    kind: Literal["onnx", "arrays"]  # "onnx": a model; "arrays": a folder with an array per image, named as the image.
    path: Path  # The ONNX file, or the folder of .npz and .npy files.
    # The meaning of the numbers. "concepts" are masks with scores, one or more per prompt, such as those of SAM 3.
    values: Literal["probabilities", "logits", "concepts"] | None = None
    # The axis of the classes. It may be left out where the shape fits the image in one way only.
    layout: Literal["CHW", "HWC"] | None = None
    # Names of its classes (or prompts) in order; by default those of the experiment. `teacher.class_map` translates.
    classes: tuple[str, ...] = ()
    mean: Triple | None = None  # Mean of each channel that an ONNX model's images are normalised by.
    std: tuple[Spread, Spread, Spread] | None = None  # Standard deviation of each channel.
    pixel_range: Literal[1, 255] = 1  # Pixels count from 0 to this number before mean and std.
    channel_order: Literal["RGB", "BGR"] = "RGB"  # Order of the colour channels.
    # Height and width of the model's input; by default those of the file, or of each image.
    size: tuple[PositiveInt, PositiveInt] | None = None


class TeacherConfig(TrainConfig):
    """Training of the teacher."""

    toml_table = "teacher"
    added_later = TrainConfig.added_later | {"foreign"}

    # Label layers the teacher trains on; an image uses the first one that it has.
    labels: Annotated[tuple[Literal["fine", "coarse"], ...], Field(min_length=1)] = ("fine",)
    # Another framework's network in place of one of ours. It labels as it is: epochs must be 0.
    foreign: ForeignConfig | None = None


class StrongConfig(Config):
    """Strong changes of crops with auto or online labels, after `augment`; all off by default."""

    # Strength of the random changes of brightness, contrast, saturation and hue.
    colour: Annotated[float, Field(ge=0, lt=1)] = 0.0
    grey: Fraction = 0.0  # Probability that a crop loses its colours.
    blur: Fraction = 0.0  # Probability of a Gaussian blur, with a sigma of `augment.blur_sigma`.

    @property
    def is_any(self) -> bool:
        return bool(self.colour or self.grey or self.blur)


def _check_method(method: str, info: ValidationInfo) -> str:
    if method == "offline":
        return method
    if not info.data.get("ema", 1):
        raise ValueError("the averaged weights are the teacher here: set student.ema, as in 0.99")
    augment = info.data.get("augment")
    if augment is not None and (augment.cutmix or augment.classmix):
        raise ValueError("it does not go with cutmix and classmix, which mix labels before there are any")
    strong = info.data.get("strong")
    if strong is not None and not strong.is_any:
        raise ValueError("both views would be the same: set student.strong, as in { colour = 0.5, blur = 0.5 }")
    return method


OnlinePixels = Literal["all", "unlabelled"]
StudentMethod = Annotated[Literal["offline", "weak_to_strong"], AfterValidator(_check_method)]


class StudentConfig(TrainConfig):
    """Training of the student."""

    toml_table = "student"
    added_later = TrainConfig.added_later | {"strong", "method", "online_threshold", "online_pixels"}

    # The initial weights: as in [teacher], or "teacher", those of the network that made its auto labels. Training then
    # goes on where the teacher stopped; both need the same network.
    weights: StudentInitialWeights = None
    # Weight of an auto-labelled pixel in the loss: 1, or the teacher's probability (needs label.weights).
    label_weights: Literal["none", "probability"] = "none"
    strong: StrongConfig = StrongConfig()
    # Source of the labels of auto-labelled images: the label set ("offline"), or the student's own averaged weights,
    # which label each crop before its strong changes ("weak_to_strong").
    method: StudentMethod = "offline"
    # The pixels that "weak_to_strong" labels. "all": every pixel of the auto-labelled images; their labels in the label
    # set are not used. "unlabelled": the pixels without a label, in images with coarse or auto labels.
    online_pixels: OnlinePixels = "all"
    # "weak_to_strong" ignores a pixel unless its class has a higher probability than this.
    online_threshold: Fraction = 0.95
