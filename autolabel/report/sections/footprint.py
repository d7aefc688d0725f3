"""The size of the labels on disk."""

from __future__ import annotations

from autolabel.audit.footprint import Extrapolation, decimal_bytes
from autolabel.report import charts
from autolabel.report.data import ReportData
from autolabel.report.sections.shared import Section
from autolabel.report.text import times


def footprint(data: ReportData) -> Section:
    """Measured bytes, and calculated bytes of the alternatives."""
    ledger = data.footprint
    if ledger is None:
        return None
    bars = [charts.Bar("auto labels", ledger["bytes"], decimal_bytes(ledger["bytes"]), True)]
    if ledger["codes_bytes"] is not None:
        bars.append(charts.Bar("teacher's codes", ledger["codes_bytes"], decimal_bytes(ledger["codes_bytes"]), True))
    bars += [
        charts.Bar(a["name"], a["bytes"], f"{decimal_bytes(a['bytes'])} · {times(a['times'])}", False)
        for a in reversed(ledger["alternatives"])
    ]
    return {
        "labels": f"{ledger['labels']:,}",
        "chart": charts.size_chart(bars, title="Size of the labels and of the alternatives"),
        "alternatives": [
            {"name": a["name"], "formula": a["formula"], "times": times(a["times"])} for a in ledger["alternatives"]
        ],
        "groups": [
            {
                "group": g["group"],
                "labels": f"{g['labels']:,}",
                "bytes": decimal_bytes(g["bytes"]),
                "each": decimal_bytes(g["bytes_per_label"] or 0),
                "bits": f"{g['bits_per_pixel'] or 0:.3f}",
            }
            for g in ledger["groups"]
        ],
        "many": _many(ledger["extrapolations"]),
    }


def _many(columns: list[Extrapolation]) -> Section:
    """Sizes for 20,000 images, one column per image size."""
    if not columns:
        return None
    sizes = [sorted((c["labels_bytes_outline"], c["labels_bytes"])) for c in columns]
    rows = [("auto labels", [_span(low, high) for low, high in sizes])]
    if columns[0]["codes_bytes"] is not None:
        rows.append(("teacher's codes", [decimal_bytes(c["codes_bytes"] or 0) for c in columns]))
    for index, alternative in enumerate(columns[0]["alternatives"]):
        rows.append((alternative["name"], [decimal_bytes(c["alternatives"][index]["bytes"]) for c in columns]))
    return {"images": f"{columns[0]['images']:,}", "columns": [c["name"] for c in columns], "rows": rows}


def _span(low: int, high: int) -> str:
    ends = list(dict.fromkeys([decimal_bytes(low), decimal_bytes(high)]))
    return " – ".join(ends)
