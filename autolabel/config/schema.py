"""All settings of an experiment: one strictly checked TOML file, without inheritance.

Every table except `runtime` decides what is computed and enters the stage keys. `runtime` only decides where and how
fast; it is recorded as provenance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1, lt=2**63)]
NonNegativeInt = Annotated[int, Field(ge=0, lt=2**63)]
MAX_JOBS = 4096


def with_output_scale(scales: tuple[float, ...]) -> tuple[float, ...]:
    """Return the scales. Raises ValueError unless they are distinct and include 1.0."""
    if 1.0 not in scales or len(set(scales)) != len(scales):
        raise ValueError("scales must be distinct and hold 1.0, the output size")
    return scales


Scales = Annotated[tuple[Annotated[float, Field(gt=0, le=8)], ...], AfterValidator(with_output_scale)]
Layer = Literal["fine", "auto", "coarse"]
Layers = Annotated[tuple[Layer, ...], Field(min_length=1)]


def _check_mix_probabilities(classmix: float, info: ValidationInfo) -> float:
    if classmix + info.data.get("cutmix", 0.0) > 1:
        raise ValueError("cutmix and classmix exclude each other: their probabilities may add up to 1 at most")
    return classmix


def _random_is_none(weights: object) -> object:
    """Treat "random" like leaving `weights` out: both are the same experiment."""
    return None if weights == "random" else weights


InitialWeights = Annotated[Literal["imagenet"] | Path | None, BeforeValidator(_random_is_none)]


class Config(BaseModel):
    """Base of every settings table: unknown keys and wrong types are errors, and values never change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    toml_table: ClassVar[str] = ""  # the table's name in the experiment file

    def place(self, name: str) -> str:
        """The full name of a setting as errors give it: "teacher.batch"."""
        return f"{self.toml_table}.{name}" if self.toml_table else name


class SourceConfig(Config):
    """Settings of every data source."""

    toml_table = "data"

    max_pixels: PositiveInt = 64_000_000  # Images with more pixels are refused before they are decoded.
    # Up to this many unusable images are quarantined; with more, no manifest is written.
    max_bad: NonNegativeInt = 0


class SyntheticConfig(SourceConfig):
    """Procedural street scenes."""

    source: Literal["synthetic"]
    seed: NonNegativeInt = 0  # The seed of the scenes.
    size: tuple[PositiveInt, PositiveInt] = (128, 256)  # Height and width of an image in pixels.
    num_fine: PositiveInt = 24  # Number of training images with fine labels.
    num_coarse: NonNegativeInt = 96  # Number of training images with coarse labels only, which the teacher labels.
    num_val: PositiveInt = 24  # Number of validation images.


class CamVidConfig(SourceConfig):
    """CamVid in the folders train, val, trainannot, valannot and trainannot_coarse, with three lists of image names."""

    source: Literal["camvid"]
    root: Path  # The folder of the data set.
    fine: str = "fine.txt"  # The list of training images with fine labels.
    coarse: str = "coarse.txt"  # The list of training images with coarse labels only, which the teacher labels.
    val: str = "val.txt"  # The list of validation images.


class CityscapesConfig(SourceConfig):
    """Cityscapes as published: the folders leftImg8bit, gtFine and gtCoarse."""

    source: Literal["cityscapes"]
    root: Path  # The folder of the data set.
    # Splits that are used with their coarse labels only; the teacher labels their images.
    coarse: tuple[Literal["train", "val", "train_extra"], ...] = ("train_extra",)


class MapillaryConfig(SourceConfig):
    """Mapillary Vistas as published."""

    source: Literal["mapillary"]
    root: Path  # The folder of the data set.
    version: Literal["v1.2", "v2.0"] = "v2.0"  # The version of the labels.
    # Splits whose images the teacher labels; their own labels, if any, are only used to audit it.
    unlabelled: tuple[Literal["training", "validation", "testing"], ...] = ("testing",)


class FolderConfig(SourceConfig):
    """Your own data: images, masks of class ids, optional coarse masks, and a class file.

    If the image folder has folders `train` and `val`, these are the splits. Otherwise every image belongs to train,
    and a fraction of the images with a mask is held out for validation.
    """

    source: Literal["folder"]
    root: Path  # The folder that the other paths are relative to.
    images: str = "images"  # The folder of the images; those without a mask are labelled by the teacher.
    masks: str = "masks"  # The folder of the masks, each named like its image.
    coarse: str = "coarse"  # The folder of the coarse masks, if there are any.
    classes: str = "classes.toml"  # The class file.
    val_share: Fraction = 0.2  # Fraction of the images with a mask that is held out, chosen by a digest of their names.


Data = Annotated[
    SyntheticConfig | CamVidConfig | CityscapesConfig | MapillaryConfig | FolderConfig, Field(discriminator="source")
]


class ModelConfig(Config):
    """The network: a trunk, a head and a fusion of scales; head widths default to the published ones."""

    trunk: str = "hrnet_w48"  # The feature extractor.
    head: str = "ocr"  # The head that turns features into class logits.
    fusion: str = "hierarchical"  # The way that predictions at several scales are combined.
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


class TrainConfig(Config):
    """How a network is trained; teacher and student share it."""

    model: ModelConfig = ModelConfig()
    # The initial weights: a weights file, "imagenet" (the trunk's weights from the extra `pretrained`) or "random".
    # The digest of the file enters the stage key, not its path.
    weights: InitialWeights = None
    # A Hugging Face model to start from: a folder, or a hub id in the local cache. It replaces `model`.
    huggingface: str | None = None
    # Class name of the Hugging Face model -> our class name, "" = none. Equal names need no entry.
    class_map: dict[str, str] = {}
    crop: tuple[PositiveInt, PositiveInt] = (1024, 2048)  # Height and width of a training crop in pixels.
    batch: PositiveInt = 8  # Number of crops in a batch, over all devices and accumulation steps.
    epochs: NonNegativeInt = 175  # Number of epochs; 0 uses the initial weights without training.
    # Number of images drawn in an epoch; by default as many as have fine labels.
    epoch_images: PositiveInt | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"  # The optimizer.
    lr: Annotated[float, Field(gt=0)] = 5e-3  # The peak learning rate.
    momentum: Fraction = 0.9  # Momentum of SGD.
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4  # Weight decay.
    poly_power: Annotated[float, Field(ge=0)] = 2.0  # Power of the polynomial learning-rate decay.
    warmup: Fraction = 0.0  # Fraction of all steps over which the learning rate rises.
    loss: Literal["rmi", "bce", "ce"] = "rmi"  # The main loss.
    aux_weight: Annotated[float, Field(ge=0)] = 0.4  # Weight of the auxiliary head's loss.
    scale_weight: Annotated[float, Field(ge=0)] = 0.05  # Weight of the loss of each single scale.
    decay_norms: bool = False  # Weight decay also applies to biases and to the scale and shift of norms, as published.
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
    sync_norms: bool = True  # Batch norm computes its statistics over all processes, on GPUs only.
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # Decay of the exponential moving average of the weights; 0 = off.
    validate_every: NonNegativeInt = 0  # Number of epochs between validations; 0 = only at the end.
    validate_images: PositiveInt | None = None  # Number of validation images; all by default.
    checkpoint_every: PositiveInt = 100  # Number of steps between checkpoints.
    max_nan: PositiveInt = 10  # Training stops after this many non-finite losses in a row.


class TeacherConfig(TrainConfig):
    """Training of the teacher."""

    toml_table = "teacher"

    # Label layers the teacher trains on; an image uses the first one that it has.
    labels: Annotated[tuple[Literal["fine", "coarse"], ...], Field(min_length=1)] = ("fine",)


class StudentConfig(TrainConfig):
    """Training of the student."""

    toml_table = "student"

    # Weight of an auto-labelled pixel in the loss: 1, or the teacher's probability (needs label.weights).
    label_weights: Literal["none", "probability"] = "none"


class InferConfig(Config):
    """Multi-scale inference to codes."""

    toml_table = "infer"

    scales: Scales = (0.5, 1.0, 2.0)  # Scales of the image; they must include 1.0.
    flip: bool = False  # The mirrored image is predicted too, and both predictions are averaged.
    precision: Literal["fp32", "bf16"] = "fp32"  # Number format of inference.
    # Edges of the probability bins, ascending; a standard set by default.
    edges: tuple[Annotated[float, Field(gt=0, lt=1)], ...] | None = None
    # The second class is kept where the probability is not above this bin edge; 0 = nowhere.
    second_below: Annotated[float, Field(ge=0, lt=1)] = 0.0
    chunk: PositiveInt = 32  # Number of images per shard; an interrupted run resumes at a shard.
    # Height and width of a sliding window for larger images; by default each image is predicted at once.
    window: tuple[PositiveInt, PositiveInt] | None = None
    overlap: NonNegativeInt = 256  # Overlap of neighbouring windows in pixels; each window keeps half of it.

    @model_validator(mode="after")
    def _less_than_a_window(self) -> Self:
        if self.window is not None and self.overlap >= min(self.window):
            raise ValueError(f"overlap must be less than both sides of window; it is {self.overlap}")
        return self


class LabelConfig(Config):
    """From codes to label maps."""

    toml_table = "label"

    threshold: Fraction = 0.5  # A pixel keeps its class if its probability is above this; otherwise it is ignored.
    class_thresholds: dict[str, Fraction] = {}  # Thresholds of single classes, by class name.
    # Use of coarse labels: "veto" ignores pixels where teacher and coarse label disagree; "fill" takes the coarse label
    # inside its polygons and the teacher's class around them.
    coarse: Literal["off", "veto", "fill"] = "off"
    # PNG compression; "archive" files are a sixth to a quarter smaller and take about a second per image.
    codec: Literal["default", "archive"] = "default"
    weights: bool = False  # The confidence of each pixel is written too, for student.label_weights.


class FuseConfig(Config):
    """Label layers that a student trains on."""

    toml_table = "fuse"

    layers: Layers = ("fine", "auto")  # An image uses the first of these layers that it has.


class EvaluateConfig(Config):
    """Evaluation of a network on the validation images."""

    toml_table = "evaluate"

    scales: Scales = (1.0,)  # Scales of the image; they must include 1.0.
    flip: bool = False  # The mirrored image is predicted too, and both predictions are averaged.
    predictions: bool = False  # Prediction files are written too, in the format of the Cityscapes server.
    min_miou: Fraction | None = None  # Quality gate: a run whose mIoU is below this ends with exit code 4.


class ReportConfig(Config):
    """The HTML report."""

    toml_table = "report"

    images: PositiveInt = 4  # Number of example images.


class RuntimeConfig(Config):
    """Where and how fast to compute; no stage key depends on it."""

    toml_table = "runtime"

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$")] = "auto"  # auto, cpu, cuda or cuda:N.
    jobs: Annotated[int, Field(ge=0, le=MAX_JOBS)] = 0  # Number of parallel workers; 0 = one per usable core.
    threads: Annotated[int, Field(ge=0, le=MAX_JOBS)] = 0  # Number of torch threads; 0 = one per usable core.
    backend: Literal["threads", "loky", "dask", "ray"] = "threads"  # Back-end of the label stage: threads or processes.
    # Largest batch that a device takes at once in training; 0 = its whole part of the batch.
    micro_batch: NonNegativeInt = 0
    activation_checkpointing: bool = False  # Training recomputes activations instead of keeping them, to save memory.
    compile: bool = False  # torch.compile in training and, on CUDA, in inference: a slow start, then faster.
    infer_batch: PositiveInt = 4  # Number of images per batch in inference.
    workers: Annotated[int, Field(ge=0, le=MAX_JOBS)] = 0  # Number of threads that load training samples; 0 = `jobs`.

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.compile and self.activation_checkpointing:
            raise ValueError("compile cannot look through activation_checkpointing")
        return self


def _check_rounds(rounds: int, info: ValidationInfo) -> int:
    if rounds > 1 and info.data.get("pipeline") != "teacher_student":
        raise ValueError("only the pipeline teacher_student has rounds")
    return rounds


class Experiment(Config):
    """The whole experiment file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pipeline: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = "teacher_student"  # The pipeline's name.
    seed: NonNegativeInt = 0  # The seed of all random choices in training.
    # Number of rounds; each student teaches the next.
    rounds: Annotated[PositiveInt, AfterValidator(_check_rounds)] = 1
    data: Data
    teacher: TeacherConfig = TeacherConfig()
    infer: InferConfig = InferConfig()
    label: LabelConfig = LabelConfig()
    fuse: FuseConfig = FuseConfig()
    student: StudentConfig = StudentConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()
    runtime: RuntimeConfig = RuntimeConfig()
