"""Without the extra, or with a broken one, there is one line."""

from __future__ import annotations

import sys
from contextlib import suppress

import pytest

from autolabel.errors import ConfigError
from autolabel.models.huggingface.weights import transformers
from tests.helpers.hf_folders import logging


@pytest.mark.parametrize("missing", ["transformers", "scipy", "scipy.optimize"])
def test_a_missing_package_is_named_with_what_installs_it(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)  # what the import system does for a package that is not there
    with pytest.raises(ConfigError, match=r"pip install 'autolabel-seg\[hf\]'") as caught, transformers():
        pass
    assert missing.split(".")[0] in str(caught.value)


def test_the_library_is_quiet_and_then_as_it_was() -> None:
    before = logging.get_verbosity()
    logging.set_verbosity_info()
    logging.enable_progress_bar()
    try:
        with suppress(ZeroDivisionError), transformers():
            assert logging.get_verbosity() == logging.ERROR
            assert not logging.is_progress_bar_enabled()
            raise ZeroDivisionError
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.INFO, True)
    finally:
        logging.set_verbosity(before)
        logging.disable_progress_bar()
