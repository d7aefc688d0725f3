"""Small networks of timm under the heads that fit them, as the table of docs/models.md says."""

from __future__ import annotations

import pytest
import torch

from autolabel.config.networks import ModelConfig
from autolabel.errors import ConfigError
from autolabel.models.heads import build_head
from autolabel.models.trunks import build_trunk
from tests.models.overfitting import ALL_HEADS, Combination, combinations_of, documented, fit_one_batch, marked, small

FITTING = {
    "timm:test_efficientnet": ALL_HEADS,
    "timm:test_convnext2": ("ocr", "conv", "deeplabv3plus", "fpn", "deeperlab"),  # nothing of stride 2
}
OTHER = {
    "timm:swin_tiny_patch4_window7_224": ("ocr", "conv", "deeplabv3plus", "fpn"),  # stride 32, nothing of stride 2
    "timm:vit_small_patch16_224": ("ocr", "conv"),  # stride 16, nothing else
}
DOCUMENTED = {trunk: heads for trunk, heads in documented().items() if trunk.startswith("timm:")}


def test_documented_table_is_what_is_trained() -> None:
    assert {trunk: DOCUMENTED[trunk] for trunk in FITTING} == FITTING


@pytest.mark.parametrize(("trunk", "heads"), sorted((DOCUMENTED | OTHER).items()))
def test_what_fits_is_built_at_full_width_and_the_rest_refused(trunk: str, heads: tuple[str, ...]) -> None:
    with torch.device("meta"):
        built = build_trunk(trunk)
        for head in ALL_HEADS:
            table = ModelConfig(trunk=trunk, head=head)
            if head in heads:
                assert build_head(built, 19, table).channels
                continue
            with pytest.raises(ConfigError, match=rf"model\.head: '{head}' does not fit trunk '{trunk}': it "):
                build_head(built, 19, table)


@pytest.mark.parametrize("combination", marked(combinations_of(FITTING)), ids="-".join)
def test_twenty_steps_fit_one_batch(combination: Combination) -> None:
    fit = fit_one_batch(small(combination))
    print(fit.line(combination))
    fit.check()
