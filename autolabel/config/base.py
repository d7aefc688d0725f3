"""Types and the base class that all settings tables share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1, lt=2**63)]
NonNegativeInt = Annotated[int, Field(ge=0, lt=2**63)]


def with_output_scale(scales: tuple[float, ...]) -> tuple[float, ...]:
    """Return the scales. Raises ValueError unless they are distinct and include 1.0."""
    if 1.0 not in scales or len(set(scales)) != len(scales):
        raise ValueError("scales must be distinct and hold 1.0, the output size")
    return scales


Scales = Annotated[tuple[Annotated[float, Field(ge=0.05, le=8)], ...], AfterValidator(with_output_scale)]
Layer = Literal["fine", "auto", "coarse"]
Layers = Annotated[tuple[Layer, ...], Field(min_length=1)]


class Config(BaseModel):
    """Base of every settings table: unknown keys and wrong types are errors, and values never change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    toml_table: ClassVar[str] = ""  # the table's name in the experiment file
    # Settings that came after artefacts were made in the field: at their default they stay out of the stage keys, so
    # that a new version finds the old artefacts.
    added_later: ClassVar[frozenset[str]] = frozenset()

    def place(self, name: str) -> str:
        """The full name of a setting as errors give it: "teacher.batch"."""
        return f"{self.toml_table}.{name}" if self.toml_table else name

    def for_key(self) -> dict[str, Any]:
        """The settings as JSON, as they enter a stage key."""
        document = self.model_dump(mode="json")
        for name in self.added_later:
            if getattr(self, name) == type(self).model_fields[name].get_default(call_default_factory=True):
                del document[name]
        return document
