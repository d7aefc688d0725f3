"""Types and the base class that all settings tables share."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1, lt=2**63)]
NonNegativeInt = Annotated[int, Field(ge=0, lt=2**63)]


def with_output_scale(scales: tuple[float, ...]) -> tuple[float, ...]:
    """Return the scales. Raises ValueError unless they are distinct and include 1.0."""
    if 1.0 not in scales or len(set(scales)) != len(scales):
        raise ValueError("scales must be distinct and hold 1.0, the output size")
    return scales


Scales = Annotated[tuple[Annotated[float, Field(gt=0, le=8)], ...], AfterValidator(with_output_scale)]
Layer = Literal["fine", "auto", "coarse"]
Layers = Annotated[tuple[Layer, ...], Field(min_length=1)]


class Config(BaseModel):
    """Base of every settings table: unknown keys and wrong types are errors, and values never change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    toml_table: ClassVar[str] = ""  # the table's name in the experiment file

    def place(self, name: str) -> str:
        """The full name of a setting as errors give it: "teacher.batch"."""
        return f"{self.toml_table}.{name}" if self.toml_table else name
