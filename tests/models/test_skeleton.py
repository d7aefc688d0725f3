"""Networks on the meta device: the same keys and shapes, without torch's compiler."""

from __future__ import annotations

import subprocess
import sys

from autolabel.models import build_model
from autolabel.models.skeleton import on_meta
from tests.helpers.paths import ROOT

TABLE = {"trunk": "efficientnet_tiny_os8", "head": "fpn"}

NO_COMPILER = """
import sys
from autolabel.models import build_model
from autolabel.models.skeleton import on_meta
for trunk, head in (("hrnet_tiny", "ocr"), ("efficientnet_tiny_os8", "fpn"), ("xception_tiny", "deeper")):
    with on_meta():
        build_model({"trunk": trunk, "head": head}, 5)
print("torch._dynamo" in sys.modules, "sympy" in sys.modules)
"""


def test_keys_and_shapes_are_those_of_the_network() -> None:
    with on_meta():
        skeleton = build_model(TABLE, 5).state_dict()
    state = build_model(TABLE, 5).state_dict()
    assert {key: value.shape for key, value in skeleton.items()} == {key: value.shape for key, value in state.items()}
    assert all(value.is_meta for value in skeleton.values())


def test_the_compiler_is_not_imported() -> None:
    run = subprocess.run([sys.executable, "-c", NO_COMPILER], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
