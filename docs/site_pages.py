"""A hook of mkdocs: files beside docs/ that pages link to become pages of the site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# In the repository -> on the site.
PAGES = {"SECURITY.md": "SECURITY.md", "data_manifest/README.md": "data_manifest.md"}


def on_files(files: Any, config: Any) -> Any:
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        for prefix in ("](docs/", "](../docs/"):
            text = text.replace(prefix, "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    for source, target in PAGES.items():
        markdown = markdown.replace(f"](../{source}", f"]({target}")
    return markdown
