"""A full disk: older profiles are merged before any is given up, and their statistics stay complete."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_mlops_monitor.blocks import SEQ_BITS
from edge_mlops_monitor.config.sections import Telemetry
from edge_mlops_monitor.drift.profiling import profile_of
from edge_mlops_monitor.profiles import merge
from edge_mlops_monitor.records import Event, Prediction, Profile
from edge_mlops_monitor.store import Store
from edge_mlops_monitor.telemetry.sealing import Sealer
from edge_mlops_monitor.telemetry.sinks.memory import MemorySink
from edge_mlops_monitor.telemetry.uploader import Uploader

MIB = 1 << 20
QUARTER = 6 * 3600.0  # windows of a quarter of a day
FEATURES = tuple("abcdefgh")
DAY = 86_400.0 * 20_000


def opened(path: Path, has_sinks: bool, max_bytes: int = MIB) -> Store:
    store = Store(path / "m.db", max_bytes=max_bytes, has_sinks=has_sinks)
    store.query("PRAGMA synchronous = OFF")
    return store


@cache
def patterns() -> list[list[Profile]]:
    rng = np.random.default_rng(1)
    return [[profile_of(name, rng.normal(size=300)) for name in FEATURES] for _ in range(7)]


def profiles(window: int) -> list[Profile]:
    begin = DAY + window * QUARTER
    found = patterns()[window % 7]
    return [msgspec.structs.replace(one, ts=begin, until=begin + QUARTER - 1) for one in found]


def fill(store: Store, windows: range) -> None:
    """One closing for each of these windows, with some predictions between."""
    for window in windows:
        with store.transaction() as tx:
            tx.append("predictions", [Prediction(ts=DAY + window * QUARTER, inputs="x" * 2000)] * 3)
            tx.append("profiles", profiles(window))


def stored(store: Store) -> list[Profile]:
    return [one for one in store.newest("profiles") if isinstance(one, Profile)][::-1]


def rows(found: list[Profile]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for one in found:
        counted[one.feature] += one.rows
    return dict(counted)


def declared(store: Store, sent: list[dict[str, Any]] | None = None) -> dict[str, set[int]]:
    """Numbers of profiles that are no more, by reason."""
    told: dict[str, set[int]] = {}
    data = [one.data for one in store.newest("events") if isinstance(one, Event)]
    data += [one["data"] for one in sent or ()]
    for one in data:
        if one.get("kind") == "profiles":
            numbers = range(one["first_seq"], one["last_seq"] + 1)
            told.setdefault(one["reason"], set()).update(numbers)
    return told


@pytest.mark.parametrize("has_sinks", [False, True])
def test_predictions_go_first_then_profiles_are_merged_to_days_and_to_weeks(
    tmp_path: Path, has_sinks: bool
) -> None:
    store = opened(tmp_path, has_sinks)
    windows = 4 * 80
    fill(store, range(windows))
    found = stored(store)
    assert rows(found) == dict.fromkeys(FEATURES, 300 * windows), "no row is gone"
    assert store.file_bytes() <= MIB
    assert [one.seq for one in found] == sorted({one.seq for one in found})
    old, new = found[0], found[-1]
    assert (old.windows > 4, new.windows) == (True, 1)
    assert store.counts()["profiles"] == len(found)
    kept = {one.seq for one in found}
    gone = set(range(1, 8 * windows + 1)) - kept
    assert declared(store) == ({"merged": gone} if has_sinks else {})
    assert "merged" not in store.losses()
    store.close()


def test_a_merged_profile_is_that_of_all_its_rows(tmp_path: Path) -> None:
    store = opened(tmp_path, False)
    fill(store, range(4 * 70))
    found = stored(store)
    for name in FEATURES:
        whole = merge(one for one in found if one.feature == name)
        parts = merge(one for window in range(4 * 70) for one in profiles(window) if one.feature == name)
        assert msgspec.json.encode(whole) == msgspec.json.encode(parts)
    store.close()


def test_what_is_uploaded_and_what_is_not_are_never_merged_into_one(tmp_path: Path) -> None:
    """Whatever was sealed in between, the bucket has every row once."""
    chance = random.Random(6)
    store = opened(tmp_path, True)
    sink = MemorySink()
    uploader = Uploader(store, {"memory": lambda: sink}, Telemetry(max_batch_size=37))
    windows = 4 * 80
    for window in range(windows):
        fill(store, range(window, window + 1))
        if chance.random() < 0.02:
            uploader.seal(["profiles"], chance.randrange(1, 200))
        if chance.random() < 0.01:
            uploader.drain()
    uploader.drain()
    arrived = [msgspec.convert(line, Profile) for line in sink.records("profiles")]
    told = declared(store, sink.records("events"))
    assert rows(arrived) == dict.fromkeys(FEATURES, 300 * windows)
    assert told["merged"], "some were merged while they waited"
    numbers = [one.seq for one in arrived]
    assert len(set(numbers)) == len(numbers)
    assert set(numbers) | told["merged"] == set(range(1, 8 * windows + 1))
    assert max(one.windows for one in arrived) > 1
    store.close()


def test_what_was_read_for_sealing_is_not_sealed_once_it_is_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path, True)
    fill(store, range(20))
    sealer = Sealer(store, ["memory"], Telemetry(max_batch_size=10))
    encode = sealer._encode

    def meanwhile(*given: Any) -> Any:
        batch = encode(*given)
        monkeypatch.undo()
        fill(store, range(20, 4 * 30))
        return batch

    monkeypatch.setattr(sealer, "_encode", meanwhile)
    batch = sealer.seal_one("profiles")
    assert batch is not None
    with store.transaction() as tx:
        assert tx.sealed("profiles") & ((1 << SEQ_BITS) - 1) == batch.last_seq
    assert batch.first_seq > 1, "the first ten were merged meanwhile, and read again"
    store.close()


def test_profiles_of_other_streams_and_references_stay_apart(tmp_path: Path) -> None:
    store = opened(tmp_path, False)
    for window in range(300):
        one = profiles(window)[0]
        both = [
            msgspec.structs.replace(one, source="left"),
            msgspec.structs.replace(one, source="right", reference="ab" if window % 2 else "cd"),
            msgspec.structs.replace(one, feature="other"),
        ]
        with store.transaction() as tx:
            tx.append("profiles", both)
    assert {(one.source, one.reference) for one in stored(store)} == {
        ("left", ""),
        ("right", "ab"),
        ("right", "cd"),
        (None, ""),
    }
    assert any(one.windows > 1 for one in stored(store))
    store.close()


def test_once_nothing_is_alike_the_oldest_go(tmp_path: Path) -> None:
    store = opened(tmp_path, True)
    for window in range(700):
        one = msgspec.structs.replace(profiles(window)[0], feature=f"f{window}")
        with store.transaction() as tx:
            tx.append("profiles", [one])
    found = stored(store)
    assert store.file_bytes() <= MIB
    assert found[-1].feature == "f699"
    gone = set(range(1, found[0].seq))
    assert declared(store) == {"storage_full": gone}
    assert store.losses() == {"storage_full": len(gone)}
    store.close()
