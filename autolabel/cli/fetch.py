"""`autolabel fetch`: bring published weights from the Hugging Face hub into the local cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from autolabel.cli.options import echo, json_option, print_json, quiet_option, size
from autolabel.errors import AutolabelError
from autolabel.hub import ENTRIES, Entry, Fetched, fetched, snapshot_folder
from autolabel.hub.record import COMMIT, usage

_PINNED = {
    "autolabel": "pinned by autolabel",
    "revision": "pinned by --revision",
    "first fetch": "not pinned by autolabel: its commit and digests are recorded now, and count from now on",
}


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listing", is_flag=True, help="Show the weights that autolabel knows: size, licence, purpose.")
@click.option("--revision", help="The commit or branch to fetch; by default the pinned one.")
@click.option("--accept-licence", is_flag=True, help="Say that you accept a licence that restricts the use.")
@quiet_option
@json_option
def fetch(
    name: str | None, listing: bool, revision: str | None, accept_licence: bool, quiet: bool, as_json: bool
) -> None:
    """Fetch the weights NAME (a hub id, OWNER/NAME) into the local Hugging Face cache.

    Besides `export labels --push` and the trackers of runtime.track, only this command connects to a server. Size
    and digest are verified and recorded, and everything that uses the weights later must find the same bytes. An
    interrupted fetch goes on where it was. NAME need not be in --list; its licence is then the one that its model
    card names.
    """
    if listing == (name is not None):
        raise click.UsageError("give NAME or --list")
    if name is None:
        _list(as_json)
        return
    from autolabel.hub.fetch import fetch as bring

    def silent(line: str) -> None:
        pass

    record = bring(
        name, revision=revision, accept_licence=accept_licence, say=silent if as_json else echo, quiet=quiet or as_json
    )
    if as_json:
        print_json(
            {**record.model_dump(mode="json"), "folder": str(snapshot_folder(record, name)), "use": usage(record)}
        )
        return
    for line in _lines(record):
        echo(line)


def _lines(record: Fetched) -> Iterator[str]:
    yield f"{record.id}: commit {record.commit}, {_PINNED[record.pinned_by]}"
    for file in record.files:
        yield f"  {file.name}: {size(file.bytes)}, sha256 {file.sha256}"
    yield f"  licence: {record.licence}"
    folder = snapshot_folder(record, record.id)
    yield f"  folder: {folder}"
    yield f"next: {_next(record)}"
    if record.setting == "huggingface":
        yield f"  or: autolabel predict --teacher {folder} IMAGES --out DIR"


def _next(record: Fetched) -> str:
    entry = ENTRIES.get(record.id)
    trunk = f' and teacher.model.trunk = "{entry.trunk}"' if entry and entry.trunk else ""
    return f"an experiment with teacher.{usage(record)}{trunk}"


def _list(as_json: bool) -> None:
    entries = list(ENTRIES.values())
    if as_json:
        print_json({"entries": [_as_json(entry) for entry in entries]})
        return
    for entry in entries:
        echo(f"{entry.id}  ({_size(entry)}{', fetched' if _is_fetched(entry) else ''})")
        echo(f"    {entry.purpose}; trained on {entry.data}; {_pin(entry)}")
        restricts = "  [needs --accept-licence]" if entry.licence.restricts else ""
        echo(f"    licence: {entry.licence.text}{restricts}")


def _as_json(entry: Entry) -> dict[str, Any]:
    licence = {"licence": entry.licence.text, "accept_licence": entry.licence.restricts}
    shown = {key: getattr(entry, key) for key in ("id", "setting", "purpose", "data", "trunk", "revision", "sha256")}
    return {**shown, **licence, "bytes": round(entry.megabytes * 1e6), "fetched": _is_fetched(entry)}


def _size(entry: Entry) -> str:
    return f"about {entry.megabytes:g} MB"


def _pin(entry: Entry) -> str:
    return f"commit {entry.revision[:8]}" if COMMIT.fullmatch(entry.revision) else "commit recorded at the first fetch"


def _is_fetched(entry: Entry) -> bool:
    try:
        return fetched(entry.id, entry.id) is not None
    except AutolabelError:  # a damaged record, or no huggingface_hub: the list is shown all the same
        return False


COMMANDS = [fetch]
