"""Lists that are written and read item by item have the bytes of whole documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autolabel.artifacts import LedgerRow, read_ledger, write_ledger
from autolabel.artifacts.labels import LEDGER_FILE
from autolabel.store import open_draft

ROWS = [LedgerRow("a\n},\n{", {"kept": 3, "below": 0}), LedgerRow("é", {}), LedgerRow("b", {"kept": 12})]


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_ledger_is_one_document(tmp_path: Path, number: int) -> None:
    draft = open_draft(tmp_path / "label", "0" * 64)
    write_ledger(draft, iter(ROWS[:number]))
    made = draft.commit(meta={}, provenance={})
    rows: list[dict[str, Any]] = [{"id": row.image_id, **row.pixels} for row in ROWS[:number]]
    assert made.read(LEDGER_FILE.name) == json.dumps(rows, indent=0, sort_keys=True).encode()
    assert list(read_ledger(made)) == ROWS[:number]
