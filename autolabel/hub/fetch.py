"""Fetching of published weights into the Hugging Face cache: look up, check the licence, transfer, verify, record.

Each step finds what an earlier run has done, so a killed fetch goes on where it was and ends with the same bytes. The
files lie as real files in the cache's snapshot folder, where every program that uses the cache finds them.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from autolabel.errors import AutolabelError, ConfigError, StoreError, WeightsError
from autolabel.hub.record import (
    COMMIT,
    CONFIG,
    INDEX,
    PROCESSORS,
    RECORD,
    TOKENIZER,
    WHOLE,
    Fetched,
    FetchedFile,
    Pin,
    damaged_files,
    fetched,
    is_hub_id,
    repository_folder,
)
from autolabel.hub.table import ENTRIES, Entry, Licence, Setting, licence_of
from autolabel.hub.transfer import TIMEOUT, download
from autolabel.progress import Progress
from autolabel.store import hold_lock, make_folder, remove_file, sha256_file, write_file
from autolabel.store.durable import publish

PARTIAL = ".incomplete"  # the ending of a file on its way
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_LATER = "run the same command again: it goes on where it was"


class RemoteFile(NamedTuple):
    name: str
    bytes: int
    sha256: str  # empty where the hub lists only the git digest
    git: str  # sha1 of the git blob; empty for large files


class Plan(NamedTuple):
    """The files of an id at one commit, as a hub lists them."""

    id: str
    commit: str
    pinned_by: Pin
    licence: Licence
    data: str
    files: tuple[RemoteFile, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def fetch(
    hub_id: str, *, revision: str | None, accept_licence: bool, say: Callable[[str], None], quiet: bool
) -> Fetched:
    """Bring an id into the cache, unless it is there already, and return its record.

    `say` receives a line about the licence before anything is transferred. Raises ConfigError for an id, a revision or
    a licence that cannot be used, WeightsError for other bytes than promised, StoreError for the disk, and
    AutolabelError for the connection.
    """
    if not is_hub_id(hub_id) or "/" not in hub_id:
        raise ConfigError(hub_id, "is no hub id", "write OWNER/NAME; autolabel fetch --list shows some")
    old = fetched(hub_id, hub_id)
    if old is not None and revision in (None, old.commit) and not damaged_files(old, hub_id):
        return old
    if hub_id in ENTRIES:  # before a connection is opened
        _check_accepted(hub_id, licence_of(hub_id, ""), accept_licence or old is not None)
    with hub_errors(hub_id, revision):
        plan = look_up(hub_id, revision, old)
        say(f"{hub_id}: licence {plan.licence.text}")
        _check_accepted(hub_id, plan.licence, accept_licence or (old is not None and old.licence == plan.licence.text))
        promised = _promised(plan, old)
        folder = repository_folder(hub_id, hub_id)
        with hold_lock(folder / "autolabel.lock"):
            return _bring(plan, folder, promised, quiet=quiet)


def _check_accepted(hub_id: str, licence: Licence, accepted: bool) -> None:
    if licence.restricts and not accepted:
        what = f"its licence restricts its use, or is not known to: {licence.text}"
        raise ConfigError(hub_id, what, "read it, and add --accept-licence if you agree")


def look_up(hub_id: str, revision: str | None, old: Fetched | None) -> Plan:
    """Ask the hub for the commit, the card and the files of an id."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    entry = ENTRIES.get(hub_id)
    asked = revision or (old.commit if old else None) or (entry.revision if entry else "main")
    try:
        info = HfApi(endpoint=constants.ENDPOINT).model_info(
            hub_id, revision=asked, files_metadata=True, timeout=TIMEOUT
        )
        card: dict[str, object] = vars(info.card_data) if info.card_data else {}
        files = tuple(_remote(sibling) for sibling in _wanted(info.siblings or ()))
        commit = str(info.sha)
    except HfHubHTTPError:  # some of them are ValueErrors too
        raise
    except (ValueError, TypeError, KeyError, AttributeError):
        raise AutolabelError(constants.ENDPOINT, "does not answer as a hub does", "check HF_ENDPOINT") from None
    if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(asked) and commit != asked):
        raise AutolabelError(constants.ENDPOINT, f"names commit {commit} for {hub_id} at {asked}", "check HF_ENDPOINT")
    if not any(file.name.endswith(".safetensors") for file in files):
        remedy = "give a --revision that has one; a branch refs/pr/N often does: see its Community page"
        raise ConfigError(hub_id, f"holds no {WHOLE} at commit {commit}", remedy)
    return Plan(
        id=hub_id,
        commit=commit,
        pinned_by=_pinned_by(entry, commit, revision, old),
        licence=licence_of(hub_id, _word(card.get("license")), _word(card.get("license_name"))),
        data=entry.data if entry else _word(card.get("datasets")),
        files=files,
    )


def _pinned_by(entry: Entry | None, commit: str, revision: str | None, old: Fetched | None) -> Pin:
    if entry is not None and entry.revision == commit:
        return "autolabel"
    if revision is None and old is not None:
        return old.pinned_by
    return "revision" if revision == commit else "first fetch"


def _word(value: object) -> str:
    """A value of a model card, which may be a list, as a short text."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
    return text[:200]


def _wanted(siblings: Iterable[Any]) -> list[Any]:
    """The files that autolabel reads: the configuration, how images and prompts are prepared, and safetensors."""
    by_name = {sibling.rfilename: sibling for sibling in siblings}
    weights = [WHOLE] if WHOLE in by_name else [INDEX, *sorted(filter(_SHARD.fullmatch, by_name))]
    processor = [name for name in PROCESSORS if name in by_name][:1]
    return [by_name[name] for name in (CONFIG, *processor, TOKENIZER, *weights) if name in by_name]


def _remote(sibling: Any) -> RemoteFile:
    sha256 = str(sibling.lfs["sha256"]) if sibling.lfs else ""
    return RemoteFile(sibling.rfilename, int(sibling.size), sha256, "" if sha256 else str(sibling.blob_id or ""))


def _bring(plan: Plan, folder: Path, promised: Mapping[str, str], *, quiet: bool) -> Fetched:
    """Transfer what is missing, and write the record."""
    snapshot = folder / "snapshots" / plan.commit
    make_folder(snapshot)
    _check_space(plan, snapshot)
    files = tuple(_bring_file(plan, file, snapshot, promised.get(file.name, ""), quiet) for file in plan.files)
    record = Fetched(
        id=plan.id,
        commit=plan.commit,
        pinned_by=plan.pinned_by,
        setting=ENTRIES[plan.id].setting if plan.id in ENTRIES else _setting(snapshot),
        data=plan.data,
        licence=plan.licence.text,
        files=files,
    )
    write_file(folder / RECORD, record.to_bytes())
    return record


def _promised(plan: Plan, old: Fetched | None) -> dict[str, str]:
    """sha256 by file name, from the table and the record of this commit. WeightsError where the hub lists another."""
    promised = {file.name: file.sha256 for file in old.files} if old and old.commit == plan.commit else {}
    entry = ENTRIES.get(plan.id)
    if entry and entry.sha256 and entry.revision == plan.commit:
        promised[WHOLE] = entry.sha256
    for file in plan.files:
        if file.sha256 and promised.get(file.name, file.sha256) != file.sha256:
            what = f"the hub lists another {file.name} than was published: its sha256 differs"
            raise WeightsError(plan.id, what, "check HF_ENDPOINT; do not use it")
    return promised


def _check_space(plan: Plan, snapshot: Path) -> None:
    missing = sum(file.bytes - _present(snapshot / file.name) for file in plan.files)
    free = shutil.disk_usage(snapshot).free
    if missing > free:
        what = f"{missing / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB free"
        raise StoreError(snapshot, what, "free some space, or set HF_HUB_CACHE to a folder on another disk")


def _present(path: Path) -> int:
    """Bytes of a file, or of the part of it that is there."""
    partial = path.with_name(path.name + PARTIAL)
    return next((file.stat().st_size for file in (path, partial) if file.is_file()), 0)


def _bring_file(plan: Plan, file: RemoteFile, snapshot: Path, promised: str, quiet: bool) -> FetchedFile:
    """One file, verified; a file of that name that is another one is replaced."""
    path = snapshot / file.name
    if digest := _verified(path, file, promised):
        return FetchedFile(name=file.name, bytes=file.bytes, sha256=digest)
    partial = path.with_name(file.name + PARTIAL)
    resumed = _present(path) > 0
    _download(plan, file, partial, quiet)
    digest = _verified(partial, file, promised)
    if resumed and not digest:  # a power cut may have torn its last block
        remove_file(partial)
        _download(plan, file, partial, quiet)
        digest = _verified(partial, file, promised)
    if not digest:
        remove_file(partial)
        what = f"{file.name} arrived with other bytes than published: its digest differs"
        raise WeightsError(plan.id, what, "nothing of it was kept; fetch it again, or check HF_ENDPOINT")
    if path.is_symlink() or path.exists():
        remove_file(path)
    publish(partial, path)
    return FetchedFile(name=file.name, bytes=file.bytes, sha256=digest)


def _download(plan: Plan, file: RemoteFile, partial: Path, quiet: bool) -> None:
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(plan.id, file.name, revision=plan.commit, endpoint=constants.ENDPOINT)
    with Progress(total=file.bytes, desc=file.name, unit="bytes", quiet=quiet) as progress:
        download(url, build_hf_headers(), partial, file.bytes, progress=progress)


def _verified(path: Path, file: RemoteFile, promised: str) -> str:
    """The sha256 of a file that has the size and every digest that is known of it; else empty."""
    if not path.is_file() or path.stat().st_size != file.bytes:
        return ""
    sha256 = sha256_file(path)
    if {promised, file.sha256} - {"", sha256} or (file.git and file.git != _git_digest(path.read_bytes())):
        return ""
    return sha256


def _git_digest(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _setting(snapshot: Path) -> Setting:
    """Configurations of transformers name a `model_type`, those of timm do not."""
    try:
        config = json.loads((snapshot / CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        return "weights"
    return "huggingface" if isinstance(config, dict) and "model_type" in config else "weights"


@contextmanager
def hub_errors(hub_id: str, revision: str | None) -> Iterator[None]:
    """One line for each way in which a hub refuses or fails."""
    import httpx2
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise _gated(hub_id, constants.ENDPOINT) from error
    except errors.RepositoryNotFoundError as error:
        what, remedy = "is not on the hub, or is private", "check the id; a private one needs `hf auth login`"
        raise ConfigError(hub_id, what, remedy) from error
    except errors.RevisionNotFoundError as error:
        what = f"has no revision {revision}" if revision else "no longer has the revision that is pinned"
        raise ConfigError(hub_id, what, f"choose one of {constants.ENDPOINT}/{hub_id}/commits/main") from error
    except errors.EntryNotFoundError as error:
        raise ConfigError(hub_id, "lists a file that is not there", "try again later, or another --revision") from error
    except errors.OfflineModeIsEnabled as error:
        what = "cannot be fetched while HF_HUB_OFFLINE is set"
        raise ConfigError(hub_id, what, "unset it for this command") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise _gated(hub_id, constants.ENDPOINT) from error
        raise AutolabelError(constants.ENDPOINT, f"answers with status {status}", _LATER) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise AutolabelError(
            constants.ENDPOINT, f"cannot be reached: {reason}", f"check the connection; {_LATER}"
        ) from error


def _gated(hub_id: str, endpoint: str) -> ConfigError:
    what = "is gated: its owner admits only users who asked for access"
    return ConfigError(hub_id, what, f"ask at {endpoint}/{hub_id}, run `hf auth login`, and fetch it again")
