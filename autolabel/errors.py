"""All user-facing errors, with their exit codes.

    AutolabelError                 1  something failed at run time
    ├── ConfigError                2  the experiment, an option or a setting is wrong
    │   └── SettingError              the same, before the setting has its full name
    ├── DataError                  3  input data is invalid
    │   ├── ImageError                an image cannot be used
    │   │   └── UnreadableImage       because of its file, which may be repaired
    │   ├── LabelError                a label map cannot be used
    │   ├── ManifestError             a manifest breaks its schema
    │   └── WeightsError              a weights file cannot be used
    ├── QualityGateFailed          4  a quality gate set in the experiment failed
    ├── ItemsFailed                5  the command finished, but some items were quarantined
    ├── StoreError                 1  the disk failed, or an artefact is damaged
    │   └── CorruptArtefact           bytes differ from what was committed
    ├── TrainingDiverged           1  the loss stayed non-finite
    ├── ExportError                1  a network could not be exported, or its export differs
    └── WorkFolderLocked          75  another run holds the work folder

Interruptions are not errors: SIGINT ends with 130 and SIGTERM with 143 (see `autolabel.signals`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


def printable(text: str) -> str:
    """Escape newlines, terminal sequences and undecodable bytes, which a file name may hold: the text is one line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class AutolabelError(Exception):
    """A user-facing error in one line: where it happened, what is wrong, and the remedy."""

    exit_code = 1

    def __init__(self, where: object, what: str, remedy: str = "") -> None:
        self.where, self.what, self.remedy = str(where), what, remedy
        text = f"{self.where}: {what}" + (f"; {remedy}" if remedy else "")
        super().__init__(printable(text))

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.where, self.what, self.remedy)  # so that pickle restores it across processes


class AlreadyReported(Exception):
    """Another process of the job has reported the error on stderr; this one only ends with `exit_code`."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(f"exit code {exit_code}")


class ConfigError(AutolabelError):
    exit_code = 2


class SettingError(ConfigError):
    """A setting is wrong, and `where` is its bare name: the code that raises it knows neither experiment nor command
    line. `naming_settings` gives it the name that the user knows."""


@contextmanager
def naming_settings(full_name: Callable[[str], str]) -> Iterator[None]:
    """A SettingError in the block becomes a ConfigError of the full name: "threshold" -> "label.threshold"."""
    try:
        yield
    except SettingError as error:
        raise ConfigError(full_name(error.where), error.what, error.remedy) from error


class DataError(AutolabelError):
    exit_code = 3


class ImageError(DataError):
    pass


class UnreadableImage(ImageError):
    """The file is the cause: it is damaged, or changed or vanished during the run. Its first bytes may come back."""


class LabelError(DataError):
    pass


class ManifestError(DataError):
    pass


class WeightsError(DataError):
    pass


class QualityGateFailed(AutolabelError):
    exit_code = 4


class ItemsFailed(AutolabelError):
    exit_code = 5


class StoreError(AutolabelError):
    pass


class CorruptArtefact(StoreError):
    pass


class TrainingDiverged(AutolabelError):
    pass


class ExportError(AutolabelError):
    pass


class WorkFolderLocked(AutolabelError):
    exit_code = 75
