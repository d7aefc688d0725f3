"""All settings of an experiment: one strictly checked TOML file, without inheritance.

Every table except `runtime` decides what is computed and enters the stage keys. `runtime` only decides where and how
fast; it is recorded as provenance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from autolabel.config.base import Config, Fraction, Layers, NonNegativeInt, PositiveInt, Scales
from autolabel.config.networks import StudentConfig, TeacherConfig
from autolabel.config.sources import Data

MAX_JOBS = 4096
Policy = Literal["off", "veto", "fill", "agree", "trust"]


class InferConfig(Config):
    """Multi-scale inference to codes."""

    toml_table = "infer"
    added_later = frozenset({"agreement"})

    scales: Scales = (0.5, 1.0, 2.0)  # Scales of the image; they must include 1.0.
    flip: bool = False  # The mirrored image is predicted too, and both predictions are averaged.
    # Number format of inference. "bf16" keeps fp32 where logits and attention are made.
    # "auto" tries both on a few images and takes "bf16" where it is faster and changes few labels.
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    # Fraction of pixels whose label must be the same in both formats for "auto" to take "bf16".
    agreement: Fraction = 0.998
    # Edges of the probability bins, ascending; a standard set by default.
    edges: tuple[Annotated[float, Field(gt=0, lt=1)], ...] | None = None
    # The second class is kept where the probability is not above this bin edge; 0 = nowhere.
    second_below: Annotated[float, Field(ge=0, lt=1)] = 0.0
    chunk: PositiveInt = 32  # Largest number of images per shard; an interrupted run resumes at a shard.
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
    added_later = frozenset({"coarse_classes", "coarse_sets", "coarse_border", "min_region", "ego_mask"})

    # A pixel keeps its class if its probability is above this; otherwise it is ignored. "quantile" chooses a threshold
    # per class from the teacher's own confidence.
    threshold: Fraction | Literal["quantile"] = 0.5
    # The probability that thresholds refer to: the network's own number, or how often such pixels of the held-out
    # images are right.
    threshold_on: Literal["network", "calibrated"] = "network"
    quantile: Fraction = 0.15  # Fraction of each class's pixels that the threshold "quantile" ignores.
    quantile_range: tuple[Fraction, Fraction] = (0.35, 0.9)  # Lowest and highest threshold that "quantile" chooses.
    class_thresholds: dict[str, Fraction] = Field(default_factory=dict)  # Thresholds of single classes, by name.
    # Use of coarse labels: "veto" ignores pixels where teacher and coarse label disagree; "fill" takes the coarse label
    # inside its polygons and the teacher's class around them; "agree" keeps only what both say; "trust" keeps the
    # teacher's class at any probability where the coarse label says the same.
    coarse: Policy = "off"
    coarse_classes: dict[str, Policy] = Field(default_factory=dict)  # The use of single coarse classes, by name.
    # Classes that a coarse class may stand for: { car = ["car", "truck", "bus"] }; by default itself alone.
    coarse_sets: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    # Width in pixels of a band along the borders of coarse polygons, inside them, that is ignored.
    coarse_border: Annotated[int, Field(ge=0, le=256)] = 0
    min_region: dict[str, PositiveInt] = Field(default_factory=dict)  # Smaller regions are ignored: pixels, by class.
    # A PNG of the size of the images; where it is not 0, the camera sees its own vehicle, and pixels are ignored.
    ego_mask: Path | None = None
    # PNG compression; "archive" files are a sixth to a quarter smaller and take about a second per image.
    codec: Literal["default", "archive"] = "default"
    # Ids in the label files: "train" counts the classes 0, 1, 2, ...; "dataset" takes those of the data set's masks.
    ids: Literal["train", "dataset"] = "train"
    weights: bool = False  # The confidence of each pixel is written too, for student.label_weights.

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.threshold == "quantile" and self.threshold_on == "calibrated":
            raise ValueError('threshold = "quantile" needs threshold_on = "network"; or set threshold to a number')
        if self.quantile_range[0] > self.quantile_range[1]:
            raise ValueError(f"quantile_range must be the lowest and the highest; it is {list(self.quantile_range)}")
        return self


class FuseConfig(Config):
    """Label layers that a student trains on."""

    toml_table = "fuse"

    layers: Layers = ("fine", "auto")  # An image uses the first of these layers that it has.
    # A folder of corrections (`autolabel corrections import`): their pixels replace those of any layer.
    corrections: Path | None = None


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

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$")] = (
        "auto"  # auto, cpu, cuda, cuda:N or mps.
    )
    jobs: Annotated[int, Field(ge=0, le=MAX_JOBS)] = 0  # Number of parallel workers; 0 = one per usable core.
    threads: Annotated[int, Field(ge=0, le=MAX_JOBS)] = 0  # Number of torch threads; 0 = one per usable core.
    backend: Literal["threads", "loky", "dask", "ray"] = "threads"  # Back-end of the label stage: threads or processes.
    # Largest batch that a device takes at once in training; 0 = its whole part of the batch.
    micro_batch: NonNegativeInt = 0
    activation_checkpointing: bool = False  # Training recomputes activations instead of keeping them, to save memory.
    compile: bool = False  # torch.compile in training and, on CUDA, in inference: a slow start, then faster.
    infer_batch: PositiveInt = 4  # Number of images per batch in inference.
    workers: Annotated[int, Field(ge=0, le=MAX_JOBS)] = 0  # Number of threads that load training samples; 0 = `jobs`.
    # Tools that show the curves of a training: "tensorboard", "wandb", "mlflow", "trackio". Each needs the extra of its
    # name. They write below work/NAME/track; "wandb" sends to its server instead, unless WANDB_MODE=offline is set, and
    # the others do so if their own environment variables name a server.
    track: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()

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

    # The experiment's name: results lie in work/NAME by default. Letters, digits and ._- without a leading dot.
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    # "teacher_student"; "ablation": students of several label layers; "fusions": a table of fusions on one budget.
    pipeline: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = "teacher_student"
    seed: NonNegativeInt = 0  # The seed of all random choices in training.
    # Number of rounds; each student teaches the next.
    rounds: Annotated[PositiveInt, AfterValidator(_check_rounds)] = 1
    # The images and labels: `source` says how they are laid out, and which settings this table has.
    data: Data
    teacher: TeacherConfig = TeacherConfig()
    infer: InferConfig = InferConfig()
    label: LabelConfig = LabelConfig()
    fuse: FuseConfig = FuseConfig()
    student: StudentConfig = StudentConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()
    runtime: RuntimeConfig = RuntimeConfig()
