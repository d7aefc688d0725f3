"""The experiment: one TOML file, complete, strictly checked (design: every setting in one place, no inheritance).

Everything except `runtime` decides what is computed and enters the stage keys; `runtime` only decides where and
how fast, and is recorded as provenance.
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
    """The scales themselves. ValueError unless they are distinct and 1.0 is among them."""
    if 1.0 not in scales or len(set(scales)) != len(scales):
        raise ValueError("scales must be distinct and hold 1.0, the output size")
    return scales


Scales = Annotated[tuple[Annotated[float, Field(gt=0, le=8)], ...], AfterValidator(with_output_scale)]


Layer = Literal["fine", "auto", "coarse"]
Layers = Annotated[tuple[Layer, ...], Field(min_length=1)]


def _check_mix_probabilities(classmix: float, info: ValidationInfo) -> float:
    if classmix + info.data.get("cutmix", 0.0) > 1:
        raise ValueError("cutmix and classmix exclude each other: their probabilities add up to 1 at most")
    return classmix


def _random_is_none(weights: object) -> object:
    """ "random" says aloud what leaving `weights` out means; both are the same experiment."""
    return None if weights == "random" else weights


InitialWeights = Annotated[Literal["imagenet"] | Path | None, BeforeValidator(_random_is_none)]


class Config(BaseModel):
    """Base of every settings table: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    toml_table: ClassVar[str] = ""  # its name in the experiment file

    def place(self, name: str) -> str:
        """The full name of one of its settings, as errors give it: "teacher.batch"."""
        return f"{self.toml_table}.{name}" if self.toml_table else name


class SourceConfig(Config):
    """What every data source shares."""

    toml_table = "data"
    max_pixels: PositiveInt = 64_000_000  # larger pictures are refused from their header (decompression bombs)
    max_bad: NonNegativeInt = 0  # so many unreadable images are quarantined; one more and nothing is committed


class SyntheticConfig(SourceConfig):
    """Procedural street scenes; `size` is (height, width)."""

    source: Literal["synthetic"]
    seed: NonNegativeInt = 0
    size: tuple[PositiveInt, PositiveInt] = (128, 256)
    num_fine: PositiveInt = 24
    num_coarse: NonNegativeInt = 96
    num_val: PositiveInt = 24


class CamVidConfig(SourceConfig):
    """CamVid as `train/ val/ trainannot/ valannot/ trainannot_coarse/` with one list of names a part."""

    source: Literal["camvid"]
    root: Path
    fine: str = "fine.txt"
    coarse: str = "coarse.txt"
    val: str = "val.txt"


class CityscapesConfig(SourceConfig):
    """`leftImg8bit/`, `gtFine/`, `gtCoarse/` as published; `coarse` names the splits that have coarse labels only."""

    source: Literal["cityscapes"]
    root: Path
    coarse: tuple[Literal["train", "val", "train_extra"], ...] = ("train_extra",)


class MapillaryConfig(SourceConfig):
    """Mapillary Vistas; images of `unlabelled` splits are the ones to label."""

    source: Literal["mapillary"]
    root: Path
    version: Literal["v1.2", "v2.0"] = "v2.0"
    unlabelled: tuple[Literal["training", "validation", "testing"], ...] = ("testing",)


class FolderConfig(SourceConfig):
    """Your own data under `root`: images, masks of class ids, optional coarse masks, and a class file.

    With `train`/`val` folders inside `images` those are the splits; otherwise every image belongs to train
    and `val_share` of the finely labelled ones is held out for validation, chosen by a digest of the name.
    """

    source: Literal["folder"]
    root: Path
    images: str = "images"
    masks: str = "masks"
    coarse: str = "coarse"
    classes: str = "classes.toml"
    val_share: Fraction = 0.2


Data = Annotated[
    SyntheticConfig | CamVidConfig | CityscapesConfig | MapillaryConfig | FolderConfig, Field(discriminator="source")
]


class ModelConfig(Config):
    """Trunk x head x fusion; head widths default to the published ones."""

    trunk: str = "hrnet_w48"
    head: str = "ocr"
    fusion: str = "hierarchical"
    head_channels: PositiveInt = 512  # OCR features
    key_channels: PositiveInt = 256  # OCR object context; width of the other heads
    attention_channels: PositiveInt = 256
    softmax: bool = False  # explicit fusion: over the scales (Chen et al.); the published form goes without
    dropout: Fraction = 0.05
    low_scale: Annotated[float, Field(gt=0, lt=1)] = 0.5  # the lower scale of a training pair


class AugmentConfig(Config):
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.5, 2.0)
    flip: Fraction = 0.5  # probability
    colour: Annotated[float, Field(ge=0, lt=1)] = 0.25  # strength of brightness, contrast, saturation, hue
    blur: Fraction = 0.0  # probability
    blur_sigma: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.15, 1.3)
    cutmix: Fraction = 0.0  # probability that a box of another sample covers this one
    classmix: Annotated[Fraction, AfterValidator(_check_mix_probabilities)] = (
        0.0  # that half of another sample's classes do
    )


class PhaseConfig(Config):
    """Which label layers the samples of some epochs come from."""

    layers: Layers  # of the pictures drawn evenly
    uniform: Layers | None = None  # of the class-uniform draws; None = the same
    epochs: PositiveInt | None = None  # one phase may leave it open: it takes the rest


def _check_phase_epochs(phases: tuple[PhaseConfig, ...], info: ValidationInfo) -> tuple[PhaseConfig, ...]:
    epochs, given = info.data.get("epochs"), [phase.epochs for phase in phases]
    if not phases or epochs is None:  # None: it is wrong itself
        return phases
    fixed, num_open = sum(number or 0 for number in given), given.count(None)
    if num_open > 1 or fixed + num_open > epochs or (num_open == 0 and fixed != epochs):
        raise ValueError(f"phases must add up to epochs = {epochs}; one of them may leave its number open")
    return phases


class TrainConfig(Config):
    """How a network is trained; teacher and student share it."""

    model: ModelConfig = ModelConfig()
    # A weights file to start from, "imagenet" (a package holds the trunk's weights: extra `pretrained`) or "random",
    # the default. Not the path but the digest enters the stage key.
    weights: InitialWeights = None
    huggingface: str | None = None  # or from this folder, or hub id in the local cache; then `model` has no say
    class_map: dict[str, str] = {}  # its class name -> ours, "" = none; names that read the same need no entry
    crop: tuple[PositiveInt, PositiveInt] = (1024, 2048)  # height, width
    batch: PositiveInt = 8  # global: over all devices and accumulation steps
    epochs: NonNegativeInt = 175  # 0 = the weights as they are
    epoch_images: PositiveInt | None = None  # images drawn an epoch; default: as many as have fine labels
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 5e-3
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    poly_power: Annotated[float, Field(ge=0)] = 2.0
    warmup: Fraction = 0.0  # share of all steps
    loss: Literal["rmi", "bce", "ce"] = "rmi"
    aux_weight: Annotated[float, Field(ge=0)] = 0.4
    scale_weight: Annotated[float, Field(ge=0)] = 0.05  # per-scale terms
    decay_norms: bool = False  # weight_decay also for biases and for scale and shift of norms, as published
    class_uniform: Fraction = 0.5  # share of an epoch drawn uniformly over classes
    uniform_classes: tuple[str, ...] | None = None  # those drawn from coarse and auto labels too; None = all
    phases: Annotated[
        tuple[PhaseConfig, ...], AfterValidator(_check_phase_epochs)
    ] = ()  # none: all layers all the time
    tile: PositiveInt = 1024  # class-uniform centroids are taken from tiles of this size
    augment: AugmentConfig = AugmentConfig()
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"  # fp64: to verify, slow
    freeze_norms: bool = False  # batch norm keeps the statistics that `weights` came with; scale and shift still train
    sync_norms: bool = True  # batch norm's statistics are of all processes' images; on GPUs only
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # decay of the averaged weights; 0 = off
    validate_every: NonNegativeInt = 0  # epochs; 0 = at the end only
    validate_images: PositiveInt | None = None
    checkpoint_every: PositiveInt = 100  # steps
    max_nan: PositiveInt = 10  # this many non-finite losses in a row end the training


class TeacherConfig(TrainConfig):
    toml_table = "teacher"
    labels: Annotated[tuple[Literal["fine", "coarse"], ...], Field(min_length=1)] = ("fine",)


class StudentConfig(TrainConfig):
    toml_table = "student"
    # What a pixel of an auto label counts in the loss: 1, or its probability by the codes' bins (needs label.weights).
    label_weights: Literal["none", "probability"] = "none"


class InferConfig(Config):
    """Multi-scale inference to codes."""

    toml_table = "infer"
    scales: Scales = (0.5, 1.0, 2.0)
    flip: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    edges: tuple[Annotated[float, Field(gt=0, lt=1)], ...] | None = None  # probability bins; None = the default set
    second_below: Annotated[float, Field(ge=0, lt=1)] = 0.0  # an edge: where p is not above it the second class is kept
    chunk: PositiveInt = 32  # images a shard; also the unit of resume
    window: tuple[PositiveInt, PositiveInt] | None = (
        None  # (height, width): larger pictures by windows; None = all at once
    )
    overlap: NonNegativeInt = 256  # pixels that neighbouring windows share; each keeps half

    @model_validator(mode="after")
    def _less_than_a_window(self) -> Self:
        if self.window is not None and self.overlap >= min(self.window):
            raise ValueError(f"overlap must be less than window, in both directions; it is {self.overlap}")
        return self


class LabelConfig(Config):
    """From codes to label maps: p > threshold keeps the class, the rest is ignore."""

    toml_table = "label"
    threshold: Fraction = 0.5
    class_thresholds: dict[str, Fraction] = {}
    coarse: Literal["off", "veto", "fill"] = "off"
    codec: Literal["default", "archive"] = "default"  # archive: a sixth to a quarter smaller, a second an image
    weights: bool = False  # also write how sure each pixel is, for student.label_weights


class FuseConfig(Config):
    """Which label layers a student trains on; an image takes the first layer of the list that it has."""

    toml_table = "fuse"
    layers: Layers = ("fine", "auto")


class EvaluateConfig(Config):
    toml_table = "evaluate"
    scales: Scales = (1.0,)
    flip: bool = False
    predictions: bool = False  # also write prediction files as the Cityscapes server wants them
    min_miou: Fraction | None = None  # quality gate: below it the run ends with exit code 4


class ReportConfig(Config):
    toml_table = "report"
    images: PositiveInt = 4


class RuntimeConfig(Config):
    """Where and how fast; never what. Kept out of every stage key."""

    toml_table = "runtime"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$")] = "auto"
    jobs: Annotated[int, Field(ge=0, le=MAX_JOBS)] = 0  # 0 = one a usable core
    threads: Annotated[int, Field(ge=0, le=MAX_JOBS)] = 0  # torch's; 0 = one a usable core
    backend: Literal["threads", "loky", "dask", "ray"] = "threads"  # that cuts labels: loky, dask, ray by processes
    micro_batch: NonNegativeInt = 0  # largest batch a device takes at once in training; 0 = all of its share
    activation_checkpointing: bool = False  # training computes activations again instead of keeping them: less memory
    compile: bool = False  # torch.compile in training and, on CUDA, in infer: slow to begin, then faster
    infer_batch: PositiveInt = 4
    workers: Annotated[int, Field(ge=0, le=MAX_JOBS)] = 0  # threads that prepare training samples; 0 = as many as jobs

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
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pipeline: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = "teacher_student"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    rounds: Annotated[PositiveInt, AfterValidator(_check_rounds)] = 1  # each student teaches the next one
    data: Data
    teacher: TeacherConfig = TeacherConfig()
    infer: InferConfig = InferConfig()
    label: LabelConfig = LabelConfig()
    fuse: FuseConfig = FuseConfig()
    student: StudentConfig = StudentConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()
    runtime: RuntimeConfig = RuntimeConfig()
