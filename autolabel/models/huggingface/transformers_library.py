"""The one door to the transformers library: late, offline and quiet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from autolabel.errors import ConfigError

_WHERE = "Hugging Face networks"


@contextmanager
def transformers() -> Iterator[ModuleType]:
    """The library, without its own log lines and progress bars while the block runs.

    Raises ConfigError where it is missing or broken. It takes a second to import, so only what needs it asks for it.
    """
    library = _imported()
    log = library.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield library
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


def _imported() -> ModuleType:
    try:
        import scipy.optimize  # noqa: F401  # the query-based networks want it once they are built
        import transformers
        from transformers import PreTrainedModel  # noqa: F401  # the package itself is lazy: this is what can fail
    except ImportError as error:
        raise ConfigError(_WHERE, f"need a package: {error}".splitlines()[0], "pip install 'autolabel[hf]'") from None
    except Exception as error:  # a torchvision built for another torch raises whatever its extension raises
        remedy = "`autolabel doctor` checks torch and torchvision"
        raise ConfigError(_WHERE, f"transformers cannot be imported: {error}".splitlines()[0], remedy) from None
    module: ModuleType = transformers
    return module
