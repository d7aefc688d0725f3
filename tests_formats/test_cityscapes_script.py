"""The official evaluation script accepts the Cityscapes export as predictions and as ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as script

from autolabel.classes import CLASS_SETS, IGNORE
from tests.formats.maps import export


def test_evaluation(tmp_path: Path) -> None:
    labels = np.arange(19, dtype=np.uint8).repeat(40).reshape(20, 38)
    labels[0, :5] = IGNORE
    maps = {f"aachen_000000_00000{i}_leftImg8bit.png": np.roll(labels, i, axis=0) for i in range(3)}
    export("cityscapes", tmp_path, maps, CLASS_SETS["cityscapes"])
    script.args.evalInstLevelScore = False
    script.args.evalPixelAccuracy = True
    script.args.JSONOutput = False
    script.args.quiet = True
    truths = sorted(map(str, tmp_path.glob("gtFine/train/*/*_gtFine_labelIds.png")))
    assert len(truths) == 3
    result = script.evaluateImgLists(truths, truths, script.args)
    assert result["averageScoreClasses"] == 1
    assert result["pixelAccuracy" if "pixelAccuracy" in result else "averageScoreCategories"] is not None
    other = [truths[1], truths[2], truths[0]]
    assert script.evaluateImgLists(other, truths, script.args)["averageScoreClasses"] < 1
