"""Draws the figures of docs/concepts.md: python docs/figures/make.py. A test holds that they are fresh."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).resolve().parent
_STYLE = (
    "text{font:14px system-ui,sans-serif;fill:#223}.s{font-size:12px;fill:#556}.b{fill:#e8f1f2;stroke:#0b7285}"
    ".w{fill:#fdeee6;stroke:#d9622b}.g{fill:#eef;stroke:#5b5bd6}.l{stroke:#667;fill:none}rect{stroke-width:1.2}"
)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, title: str, under: str = "", kind: str = "b") -> str:
    middle = y + height / 2 + (-3 if under else 5)
    parts = [f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" class="{kind}"/>']
    parts.append(text(x + width / 2, middle, title))
    if under:
        parts.append(text(x + width / 2, middle + 17, under, "s"))
    return "".join(parts)


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1} {y1}L{x2} {y2}" class="l" marker-end="url(#a)"/>'


def drawing(width: int, height: int, title: str, *parts: str) -> str:
    head = (
        '<marker id="a" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">'
        '<path d="M0 0L9 4L0 8z" fill="#667"/></marker>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><defs>{head}</defs>"
        f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def stages() -> str:
    names = ["manifest", "teacher", "infer", "label", "fuse", "student", "report"]
    under = ["what there is", "learns from few", "codes", "PNG", "fine + auto", "learns from all", "HTML"]
    parts = []
    for index, (name, word) in enumerate(zip(names, under, strict=True)):
        x = 14 + index * 118
        parts.append(box(x, 34, 100, 54, name, word, "w" if name in ("teacher", "student") else "b"))
        if index:
            parts.append(arrow(x - 18, 61, x - 2, 61))
    return drawing(840, 122, "The stages of a run", *parts)


def codes() -> str:
    parts = [text(20, 28, "one pixel", "s", "start"), box(20, 40, 150, 50, "building, 0.83", "class and probability")]
    parts += [arrow(170, 65, 208, 65), box(210, 40, 150, 50, "code 33", "1 byte: 2 × 13 bins + 7", "w")]
    for y, threshold, label, kind in ((14, "0.5", "2 (building)", "g"), (74, "0.9", "255 (ignore)", "g")):
        parts += [arrow(360, 65, 428, y + 22), box(430, y, 160, 44, label, f"threshold {threshold}", kind)]
    parts.append(text(610, 69, "a table look-up: no network runs", "s", "start"))
    return drawing(820, 132, "A code keeps class and probability bin, so that thresholds can change later", *parts)


def attention() -> str:
    parts = []
    for index, (scale, word) in enumerate((("0.5 ×", "large things"), ("1 ×", "most"), ("2 ×", "thin things"))):
        y = 14 + 62 * index
        parts += [box(20, y, 110, 48, scale, "image"), arrow(130, y + 24, 178, y + 24)]
        parts += [box(180, y, 120, 48, "network", "the same one", "w"), arrow(300, y + 24, 348, y + 24)]
        parts += [box(350, y, 170, 48, "prediction × attention", word, "g"), arrow(520, y + 24, 588, 100)]
    parts.append(box(590, 74, 120, 52, "fused", "per pixel, sum 1"))
    return drawing(740, 206, "Hierarchical attention: every scale predicts, and a weight per pixel mixes them", *parts)


def keys() -> str:
    parts = [
        box(20, 20, 160, 40, "settings of the step"),
        box(20, 72, 160, 40, "seed, version"),
        box(20, 124, 160, 40, "digests of its inputs"),
    ]
    parts += [arrow(180, y, 258, 92) for y in (40, 92, 144)]
    parts += [box(260, 68, 110, 48, "sha256", "", "w"), arrow(370, 92, 438, 92)]
    parts.append(box(440, 62, 190, 60, "key 3f9a…", "artefacts/label/3f9a…", "g"))
    parts.append(text(650, 86, "found: reuse it", "s", "start"))
    parts.append(text(650, 106, "not found: make it", "s", "start"))
    return drawing(800, 184, "A stage key: the same inputs find the artefact again", *parts)


FIGURES = {"stages.svg": stages, "codes.svg": codes, "attention.svg": attention, "keys.svg": keys}

if __name__ == "__main__":
    for name, draw in FIGURES.items():
        (HERE / name).write_text(draw(), encoding="utf-8")
