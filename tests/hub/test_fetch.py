"""`autolabel fetch` against a hub on loopback: what it brings and records, and its line for each way to fail."""

from __future__ import annotations

import errno
import json
import os
import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import Result

from autolabel.hub import ENTRIES, fetched
from autolabel.store.hooks import Effect, observe
from tests.helpers.hub import Hub, Repository
from tests.stages.tiny_pipeline import call, call_json

ID = "someone/weights"
SMALL = {"config.json": b'{"architecture": "x"}', "README.md": b"# card", "pytorch_model.bin": b"pickle"}
WEIGHTS = bytes(range(256)) * 40_000  # 10 MB: several blocks


def files(weights: bytes = WEIGHTS) -> dict[str, bytes]:
    return {**SMALL, "model.safetensors": weights}


@pytest.fixture
def repository(hub: Hub) -> Repository:
    return hub.add(ID, files(), {"license": "apache-2.0", "datasets": ["imagenet-1k"]})


def contents(cache: Path, hub_id: str = ID) -> dict[str, bytes]:
    """Files of an id in the cache, without the lock, by their path after `snapshots/` or alone."""
    folder = cache / f"models--{hub_id.replace('/', '--')}"
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop("autolabel.lock", None)
    return found


def failed(result: Result, code: int) -> str:
    """The one line of a failure."""
    assert result.exit_code == code, result.output
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.output
    return result.stderr


def test_files_and_record(hub: Hub, repository: Repository, cache: Path) -> None:
    result = call("fetch", ID, "-q")
    assert result.exit_code == 0, result.output
    commit = repository.branches["main"]
    found = contents(cache)
    assert found.pop(f"snapshots/{commit}/model.safetensors") == WEIGHTS
    assert found.pop(f"snapshots/{commit}/config.json") == SMALL["config.json"]
    record = json.loads(found.pop("fetched.json"))
    assert not found, "neither pickles nor anything unfinished"
    assert (record["commit"], record["licence"], record["data"]) == (commit, "Apache-2.0", "imagenet-1k")
    assert record["pinned_by"] == "first fetch"
    assert [file["bytes"] for file in record["files"]] == [len(SMALL["config.json"]), len(WEIGHTS)]
    assert f"{ID}: licence Apache-2.0\n" in result.stdout
    assert "not pinned by autolabel: its commit and digests are recorded now" in result.stdout
    assert f'next: an experiment with teacher.weights = "hf:{ID}"' in result.stdout


def test_other_programs_find_it_in_the_cache(hub: Hub, repository: Repository, cache: Path) -> None:
    from huggingface_hub import scan_cache_dir, snapshot_download

    call("fetch", ID, "-q")
    commit = repository.branches["main"]
    assert snapshot_download(ID, revision=commit, local_files_only=True, cache_dir=cache) == str(
        cache / "models--someone--weights" / "snapshots" / commit
    )
    (shown,) = scan_cache_dir(cache).repos
    assert (shown.repo_id, shown.nb_files) == (ID, 2)
    assert not scan_cache_dir(cache).warnings


def test_a_second_fetch_opens_no_connection(hub: Hub, repository: Repository) -> None:
    first = call_json("fetch", ID)
    hub.requests.clear()
    assert call_json("fetch", ID) == first
    assert hub.requests == []


def test_the_first_fetch_pins_a_branch(hub: Hub, repository: Repository, cache: Path) -> None:
    old = call_json("fetch", ID)["commit"]
    new = repository.add(files(b"other weights"))
    for path in (cache / "models--someone--weights" / "snapshots").rglob("model.safetensors"):
        path.unlink()
    again = call_json("fetch", ID)
    assert (again["commit"], again["pinned_by"]) == (old, "first fetch")
    moved = call_json("fetch", ID, "--revision", new)
    assert (moved["commit"], moved["pinned_by"]) == (new, "revision")
    assert call_json("fetch", ID)["commit"] == new


def test_an_entry_of_the_table_comes_at_its_commit(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ENTRIES["timm/resnet50.a1_in1k"]
    repository = hub.add(entry.id, files(b"pinned"), {"license": "apache-2.0"})
    commit = repository.branches["main"]
    repository.add(files(b"newer"))
    monkeypatch.setitem(ENTRIES, entry.id, entry._replace(revision=commit, sha256=""))
    record = call_json("fetch", entry.id)
    assert (record["commit"], record["pinned_by"], record["data"]) == (commit, "autolabel", "ImageNet")


def test_a_hub_that_lists_other_weights_than_the_table(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ENTRIES["timm/resnet50.a1_in1k"]
    repository = hub.add(entry.id, files(), {"license": "apache-2.0"})
    monkeypatch.setitem(ENTRIES, entry.id, entry._replace(revision=repository.branches["main"]))
    said = failed(call("fetch", entry.id, "-q"), 3)
    assert "timm/resnet50.a1_in1k: the hub lists another model.safetensors than was published: its sha256" in said
    assert contents(cache, entry.id) == {}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_other_bytes_than_listed(hub: Hub, repository: Repository, cache: Path, name: str) -> None:
    repository.sends[name] = bytes(len(files()[name]))
    said = failed(call("fetch", ID, "-q"), 3)
    assert f"{ID}: {name} arrived with other bytes than published: its digest differs; nothing of it was kept" in said
    assert not [path for path in contents(cache) if name in path or path.endswith("fetched.json")]
    repository.sends.clear()
    assert call("fetch", ID, "-q").exit_code == 0


def test_more_bytes_than_listed(hub: Hub, repository: Repository, cache: Path) -> None:
    repository.sends["model.safetensors"] = WEIGHTS + b"more"
    assert "the hub sends more than the 10,240,000 bytes that it lists" in failed(call("fetch", ID, "-q"), 3)
    assert fetched(ID, ID) is None


class Refusal(NamedTuple):
    change: dict[str, Any]
    exit_code: int
    says: str


REFUSALS = {
    "gated, 401": Refusal({"gated": 401}, 2, "is gated: its owner admits only users who asked for access; ask at http"),
    "gated, 403": Refusal({"gated": 403}, 2, "is gated: its owner admits only users who asked for access; ask at http"),
    "a file is gone": Refusal({"absent": {"model.safetensors"}}, 2, "lists a file that is not there; try again later"),
    "no safetensors": Refusal({"commits": {}}, 2, "holds no model.safetensors at commit"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_of_a_repository(hub: Hub, repository: Repository, cache: Path, case: str) -> None:
    refusal = REFUSALS[case]
    if case == "no safetensors":
        repository.commits.clear()
        repository.add(SMALL)
    else:
        for name, value in refusal.change.items():
            setattr(repository, name, value)
    assert refusal.says in failed(call("fetch", ID, "-q"), refusal.exit_code)
    assert not [path for path in contents(cache) if "model.safetensors" in path and "incomplete" not in path]
    assert fetched(ID, ID) is None


def test_ids_and_revisions_that_do_not_exist(hub: Hub, repository: Repository, cache: Path) -> None:
    said = failed(call("fetch", "nobody/nothing"), 2)
    assert "nobody/nothing: is not on the hub, or is private; check the id" in said
    said = failed(call("fetch", ID, "--revision", "v7"), 2)
    assert f"{ID}: has no revision v7; choose one of http" in said
    for name in ("../x", "a/b/c", "a--b/c", "a b", "", "x/" + "y" * 100, "-x/y", "x"):
        assert "is no hub id; write OWNER/NAME; autolabel fetch --list" in failed(call("fetch", "--", name), 2)
    assert not cache.exists(), "a refused id leaves nothing"


def test_hubs_that_fail(hub: Hub, repository: Repository, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.status = 500
    assert "answers with status 500; run the same command again: it goes on" in failed(call("fetch", ID, "-q"), 1)
    hub.status, hub.garbage = 0, True
    assert "does not answer as a hub does; check HF_ENDPOINT" in failed(call("fetch", ID, "-q"), 1)
    hub.garbage = False
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "cannot be fetched while HF_HUB_OFFLINE is set; unset it" in failed(call("fetch", ID, "-q"), 2)
    assert not cache.exists()


def test_no_network(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        said = failed(call("fetch", ID, "-q"), 1)
    assert f"{endpoint}: cannot be reached: " in said
    assert "check the connection; run the same command again" in said


def test_a_missing_extra(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    said = failed(call("fetch", ID), 2)
    assert f"{ID}: a hub id needs the package huggingface_hub; pip install 'autolabel-seg[fetch]'" in said
    assert call("fetch", "--list").exit_code == 0


def test_licences(hub: Hub, cache: Path) -> None:
    nvidia = "nvidia/segformer-b5-finetuned-ade-640-640"
    said = failed(call("fetch", nvidia), 2)
    assert "its licence restricts its use, or is not known to: NVIDIA Source Code License for SegFormer" in said
    assert "read it, and add --accept-licence if you agree" in said
    assert hub.requests == [], "it is asked for before anything else"
    hub.add("a/other", files(), {"license": "other", "license_name": "my-terms"})
    hub.add("a/nc", files(), {"license": "cc-by-nc-4.0"})
    hub.add("a/silent", files(), None)
    for name, licence in {"other": "other (my-terms)", "nc": "cc-by-nc-4.0", "silent": "unknown"}.items():
        result = call("fetch", f"a/{name}", "-q")
        assert licence in result.stdout
        assert licence in result.stderr
        assert result.exit_code == 2
    assert not cache.exists()
    accepted = call_json("fetch", "a/nc", "--accept-licence")
    assert accepted["licence"] == "cc-by-nc-4.0"
    assert call("fetch", "a/nc", "-q").exit_code == 0, "it was accepted when it was fetched"


def test_a_licence_that_is_not_the_one_in_the_table(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("timm/hrnet_w48.ms_in1k", files(), {"license": "cc-by-nc-4.0"})
    assert "not known to: cc-by-nc-4.0" in failed(call("fetch", "timm/hrnet_w48.ms_in1k", "-q"), 2)


def test_a_disk_that_is_too_small(
    hub: Hub, repository: Repository, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("autolabel.hub.fetch.shutil.disk_usage", lambda path: small)
    said = failed(call("fetch", ID, "-q"), 1)
    assert "10 MB are needed and 0 MB free; free some space, or set HF_HUB_CACHE" in said


def test_a_disk_that_fills_up_keeps_what_is_there(hub: Hub, repository: Repository, cache: Path) -> None:
    seen = []

    def full(phase: str, effect: Effect) -> None:
        if effect.kind == "append" and "model" in effect.path.name and phase == "before":
            seen.append(len(effect.data))
            if len(seen) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with observe(full):
        said = failed(call("fetch", ID, "-q"), 1)
    assert "No space left on device; free some space and run again" in said
    assert call("fetch", ID, "-q").exit_code == 0
    assert hub.ranges("model.safetensors")[-1] == f"bytes={seen[0]}-"
    assert contents(cache)[f"snapshots/{repository.branches['main']}/model.safetensors"] == WEIGHTS


def test_a_connection_that_breaks_is_opened_again(hub: Hub, repository: Repository, cache: Path) -> None:
    repository.cut_at = 3_000_000
    assert call("fetch", ID, "-q").exit_code == 0
    assert hub.ranges("model.safetensors") == [f"bytes={at}-" for at in (0, 3_000_000, 6_000_000, 9_000_000)]
    assert contents(cache)[f"snapshots/{repository.branches['main']}/model.safetensors"] == WEIGHTS


def test_a_connection_that_brings_nothing_ends(hub: Hub, repository: Repository, cache: Path) -> None:
    repository.cut_at = 0
    said = failed(call("fetch", ID, "-q"), 1)
    assert "cannot be reached: " in said


def test_a_server_without_ranges(hub: Hub, repository: Repository, cache: Path) -> None:
    repository.ignores_range = True
    partial = cache / "models--someone--weights" / "snapshots" / repository.branches["main"]
    partial.mkdir(parents=True)
    (partial / "model.safetensors.incomplete").write_bytes(WEIGHTS[:1000])
    assert call("fetch", ID, "-q").exit_code == 0
    assert (partial / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("left", [b"\0" * 5000, b"\0" * len(WEIGHTS), WEIGHTS + b"more"], ids=["torn", "whole", "long"])
def test_a_part_with_other_bytes_starts_over(hub: Hub, repository: Repository, cache: Path, left: bytes) -> None:
    folder = cache / "models--someone--weights" / "snapshots" / repository.branches["main"]
    folder.mkdir(parents=True)
    (folder / "model.safetensors.incomplete").write_bytes(left)
    assert call("fetch", ID, "-q").exit_code == 0
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_file_that_was_damaged_is_replaced(hub: Hub, repository: Repository, cache: Path) -> None:
    record = call_json("fetch", ID)
    file = Path(record["folder"]) / "model.safetensors"
    file.write_bytes(b"\1" + WEIGHTS[1:])
    assert call_json("fetch", ID) == record
    assert file.read_bytes() == WEIGHTS


def test_files_that_another_program_fetched_are_taken(hub: Hub, repository: Repository, cache: Path) -> None:
    from huggingface_hub import hf_hub_download

    hf_hub_download(ID, "model.safetensors", cache_dir=cache, endpoint=hub.url, revision=repository.branches["main"])
    hub.requests.clear()
    record = call_json("fetch", ID)
    assert hub.ranges("model.safetensors") == []
    assert (Path(record["folder"]) / "model.safetensors").is_symlink()


def test_shards(hub: Hub, cache: Path) -> None:
    shards = {f"model-0000{i}-of-00002.safetensors": bytes([i]) * 100 for i in (1, 2)}
    hub.add(ID, {**SMALL, **shards, "model.safetensors.index.json": b"{}"}, {"license": "mit"})
    names = [file["name"] for file in call_json("fetch", ID)["files"]]
    assert names == ["config.json", "model.safetensors.index.json", *sorted(shards)]


def test_the_list(hub: Hub) -> None:
    text = call("fetch", "--list").stdout
    entries = {entry["id"]: entry for entry in call_json("fetch", "--list")["entries"]}
    assert entries.keys() == ENTRIES.keys()
    for entry in ENTRIES.values():
        assert f"{entry.id}  (about {entry.megabytes:g} MB)" in text
        assert entry.licence.text in text
    assert entries["timm/hrnet_w48.ms_in1k"]["trunk"] == "hrnet_w48"
    assert entries["nvidia/segformer-b0-finetuned-ade-512-512"]["accept_licence"]
    assert not entries["tue-mps/ade20k_semantic_eomt_large_512"]["accept_licence"]


def test_wrong_calls(hub: Hub) -> None:
    assert "give NAME or --list" in failed(call("fetch"), 2)
    assert "give NAME or --list" in failed(call("fetch", ID, "--list"), 2)


@pytest.mark.parametrize("text", [b"", b"{}", b"[" * 10_000, b'{"format": 2}', b"\xff"])
def test_a_damaged_record(hub: Hub, repository: Repository, cache: Path, text: bytes) -> None:
    call("fetch", ID, "-q")
    record = cache / "models--someone--weights" / "fetched.json"
    record.write_bytes(text)
    said = failed(call("fetch", ID, "-q"), 3)
    assert f"{record}: is no record of {ID}; delete it and run: autolabel fetch {ID}" in said
    record.unlink()
    assert call("fetch", ID, "-q").exit_code == 0
