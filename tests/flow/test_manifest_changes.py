"""Why a step runs again when a data set has changed: in images and masks, and which other steps that concerns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from autolabel.artifacts import write_manifest
from autolabel.config.base import Config
from autolabel.config.schema import InferConfig, LabelConfig
from autolabel.data.manifest import Manifest
from autolabel.data.parts import PartChange, part_digests
from autolabel.errors import DataError, StoreError
from autolabel.flow.changes import Why, committed, consequences, reasons
from autolabel.flow.graph import Node, Pipeline
from autolabel.flow.keys import input_identities, is_input, key_document, stage_key
from autolabel.flow.status import status
from autolabel.store import Artefact, InputDigests, open_draft, set_aside
from tests.data.manifest_rows import SYNTHETIC, image_row, label_row
from tests.flow.small import FILTER, NUMBERS, build, idle_stage, run
from tests.helpers.unreadable import unreadable

FINE, UNLABELLED = "train.fine", "train.unlabelled"


def manifest(fine: int, unlabelled: int, names: tuple[str, ...] = SYNTHETIC.names) -> Manifest:
    images = [image_row(f"{n:02}", sha256=f"{n:064x}") for n in range(fine)]
    images += [image_row(f"u{n:02}", sha256=f"{100 + n:064x}") for n in range(unlabelled)]
    return Manifest(replace(SYNTHETIC, names=names), tuple(images), tuple(label_row(f"{n:02}") for n in range(fine)))


def pipeline(*parts: str) -> Pipeline:
    """Teacher reads parts of the manifest, audit the whole, and infer reads what the teacher makes."""
    p = Pipeline()
    data = p.add("manifest", idle_stage("manifest", "manifest"), Config())
    some = replace(idle_stage("teacher", "weights", data="manifest"), reads=lambda settings: {"data": parts})
    teacher = p.add("teacher", some, Config(), data=data)
    p.add("infer", idle_stage("infer", "codes", model="weights"), Config(), model=teacher)
    p.add("audit", idle_stage("audit", "audit", data="manifest"), Config(), data=data)
    return p


class Work:
    """A work folder into which the tests put artefacts."""

    def __init__(self, folder: Path, p: Pipeline) -> None:
        self.root, self.pipeline = folder / "artefacts", p

    def put_manifest(self, content: Manifest, key: str) -> Artefact:
        draft = open_draft(self.root / "manifest", key * 64)
        write_manifest(draft, content)
        return draft.commit(meta={"parts": part_digests(content)}, provenance={})

    def document(self, step: str, inputs: Mapping[str, Artefact]) -> dict:
        node = self.pipeline.nodes[step]
        return key_document(node, input_identities(node, inputs))

    def put(self, step: str, inputs: Mapping[str, Artefact], content: str = "") -> Artefact:
        document = self.document(step, inputs)
        draft = open_draft(self.root / step, stage_key(document))
        return draft.commit(meta={"content": content}, provenance={"key": document})

    def why(self, step: str, inputs: Mapping[str, Artefact]) -> Why | None:
        files = InputDigests()
        return reasons(self.pipeline.nodes[step], self.document(step, inputs), inputs, files, self.root)


def test_changed_parts_are_said_in_images_and_masks(tmp_path: Path) -> None:
    work = Work(tmp_path, pipeline(FINE, "classes"))
    old = work.put_manifest(manifest(2, 1), "a")
    assert work.why("teacher", {"data": old}) is None, "it was never made"
    work.put("teacher", {"data": old})
    new = work.put_manifest(manifest(5, 3), "b")
    assert work.why("teacher", {"data": new}) == Why(("3 fine masks added",)), "it does not read the others"
    other = work.put_manifest(manifest(2, 1, ("other", *SYNTHETIC.names[1:])), "c")
    assert work.why("teacher", {"data": other}) == Why(("input manifest: the classes have changed",))


def test_without_the_earlier_manifest_the_parts_are_named(tmp_path: Path) -> None:
    work = Work(tmp_path, pipeline(FINE, UNLABELLED))
    old = work.put_manifest(manifest(2, 1), "a")
    work.put("teacher", {"data": old})
    (old.path / "COMMIT").unlink()
    new = work.put_manifest(manifest(5, 3), "b")
    said = f"input manifest: {FINE}, {UNLABELLED} changed"
    assert work.why("teacher", {"data": new}) == Why((said,))


def test_a_damaged_manifest_ends_no_explanation(tmp_path: Path) -> None:
    work = Work(tmp_path, pipeline(FINE))
    old = work.put_manifest(manifest(2, 1), "a")
    work.put("teacher", {"data": old})
    victim = next(old.data.glob("images*"))
    victim.write_bytes(bytes(victim.stat().st_size))
    new = work.put_manifest(manifest(5, 3), "b")
    assert work.why("teacher", {"data": new}) == Why((f"input manifest: {FINE} changed",))


def test_an_input_that_is_no_manifest_was_made_again(tmp_path: Path) -> None:
    work = Work(tmp_path, pipeline(FINE))
    weights = [work.put("teacher", {"data": work.put_manifest(manifest(n, 0), str(n))}, str(n)) for n in (1, 2)]
    work.put("infer", {"model": weights[0]})
    assert work.why("infer", {"model": weights[1]}) == Why(("teacher: made again, with other content",))


def test_a_stage_may_add_a_remark_where_its_inputs_changed(tmp_path: Path) -> None:
    p = pipeline(FINE)
    p.nodes["teacher"] = replace_stage(p.nodes["teacher"], remark="start from {path} to save time")
    work = Work(tmp_path, p)
    made = work.put("teacher", {"data": work.put_manifest(manifest(2, 1), "a")})
    why = work.why("teacher", {"data": work.put_manifest(manifest(3, 1), "b")})
    assert why == Why(("1 fine mask added", f"start from {made.path} to save time"))


def replace_stage(node: Node, **change: object) -> Node:
    return Node(node.name, replace(node.stage, **change), node.settings, node.seed, node.inputs)


def test_the_nearest_artefact_is_compared_and_of_several_the_newest(tmp_path: Path) -> None:
    """Two settings differ from the first one, one from the others."""
    for threshold, quantile in ((0.1, 0.1), (0.5, 0.2), (0.7, 0.2)):
        run(tmp_path, _labels(threshold, quantile))
    step = status(_labels(0.3, 0.2), tmp_path)[1]
    assert (step.state, step.why) == ("stale", ("high.threshold: 0.7 -> 0.3",))


def _labels(threshold: float, quantile: float) -> Pipeline:
    p = Pipeline()
    numbers = p.add("numbers", NUMBERS, InferConfig(chunk=3))
    p.add("high", FILTER, LabelConfig(threshold=threshold, quantile=quantile), numbers=numbers)
    return p


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("is_certain", [False, True])
def test_files_that_changed_are_counted_and_followed(tmp_path: Path, is_certain: bool, fails: bool) -> None:
    """A step whose settings name files: its key holds a digest of all, which says nothing to people."""
    change = PartChange(FINE, 2 if is_certain else 0, 0, 0, unknown=1)
    digest = "0" * 64

    def changes(settings: object, files: object, made: Artefact) -> list[PartChange]:
        if fails:
            raise DataError("data", "is gone")
        return [change]

    p = pipeline(FINE)
    p.nodes["manifest"] = replace_stage(
        p.nodes["manifest"],
        key_settings=lambda settings, files: {"content": digest, "shift": digest[0]},
        input_changes=changes,
    )
    work = Work(tmp_path, p)
    work.put("manifest", {})
    digest = "1" * 64
    why = work.why("manifest", {})
    shift = "manifest.shift: '0' -> '1'"
    if fails:
        assert why == Why(("manifest.content: other bytes", shift))
    else:
        parts = frozenset({FINE})
        said = "2 fine masks added" if is_certain else "1 fine mask may have changed"
        assert why == Why((shift, said), parts if is_certain else frozenset(), frozenset() if is_certain else parts)


def test_what_follows_from_changed_parts() -> None:
    p = pipeline(UNLABELLED)
    data = p.nodes["manifest"]
    p.add("report", idle_stage("report", "report", codes="codes"), Config(), codes=p.nodes["infer"])
    assert consequences(p, data, Why(parts=frozenset({UNLABELLED}))) == (
        "these run again: teacher, infer, audit, report"
    )
    assert consequences(p, data, Why(parts=frozenset({FINE}))) == (
        "these run again: audit; these stay: teacher, infer, report"
    )
    assert consequences(p, data, Why(parts=frozenset({FINE}), unsure=frozenset({UNLABELLED}))) == (
        "these run again: audit; these may run again: teacher, infer, report"
    )


def test_committed_artefacts_are_those_that_open(tmp_path: Path) -> None:
    run(tmp_path, build())
    run(tmp_path, build(threshold=0.7))
    root = tmp_path / "artefacts"
    newest, oldest = committed(root, "high")
    assert [one.provenance["key"]["settings"]["threshold"] for one in (newest, oldest)] == [0.7, 0.5]
    assert len(committed(root)) == 5
    (newest.path / "COMMIT").write_bytes(b"nonsense")
    assert committed(root, "high") == [oldest]
    assert committed(root, "high", kinds=("draft",)) == []


def test_an_artefact_that_cannot_be_read_now_is_not_passed_over(tmp_path: Path) -> None:
    """An older one would be taken for the newest. Of those that were set aside each is a help, none is needed."""
    run(tmp_path, build())
    root = tmp_path / "artefacts"
    (high,) = committed(root, "high")
    with unreadable(high.path / "COMMIT"), pytest.raises(StoreError, match="Permission denied"):
        committed(root, "high")
    aside = set_aside(high.path)
    assert [one.path for one in committed(root, "high", kinds=("corrupt",))] == [aside]
    with unreadable(aside / "COMMIT"):
        assert committed(root, "high", kinds=("corrupt",)) == []


def test_an_input_is_recognised_by_its_digest_or_by_the_parts_that_were_read(tmp_path: Path) -> None:
    work = Work(tmp_path, pipeline(FINE))
    first, second = work.put_manifest(manifest(2, 1), "a"), work.put_manifest(manifest(2, 9), "b")
    third = work.put_manifest(manifest(3, 1), "c")
    teacher, audit = work.put("teacher", {"data": first}), work.put("audit", {"data": first})
    assert [is_input(one, teacher, "data") for one in (first, second, third, teacher)] == [True, True, False, False]
    assert [is_input(one, audit, "data") for one in (first, second, third)] == [True, False, False]
    assert not is_input(first, audit, "labels")
    nameless = open_draft(tmp_path / "other", "0" * 64).commit(meta={}, provenance={})
    assert not is_input(first, nameless, "data")
