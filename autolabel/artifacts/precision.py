"""The choice of `infer.precision = "auto"`, in the codes it was made for."""

from __future__ import annotations

from typing import TypedDict

from autolabel.artifacts.json_file import JsonFile


class PrecisionChoice(TypedDict):
    """Nothing in it depends on a clock, so a repeated run that chooses alike writes the same bytes."""

    precision: str  # fp32 or bf16
    reason: str
    agreement: float | None  # fraction of pixels with the same label in both formats; None if not measured
    wanted: float
    images: list[str]  # ids of the images it was measured on


PRECISION_FILE: JsonFile[PrecisionChoice] = JsonFile("precision.json", indent=1)
