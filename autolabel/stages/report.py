"""Stage report: one HTML file a person wants to read."""

from __future__ import annotations

from autolabel.flow.stage import Context, Outcome, Stage


def run(ctx: Context) -> Outcome:
    """Placed here while the page itself is being built."""
    ctx.draft.write("report.html", b"<html></html>")
    return Outcome(meta={})


REPORT = Stage(
    "report",
    1,
    "report",
    {
        "data": "manifest",
        "model": "weights",
        "codes": "codes",
        "labels": "labels",
        "audit": "audit",
        "evaluations.*": "evaluation",
    },
    run,
)
