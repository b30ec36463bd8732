"""Profiles on the device: every row is in exactly one, whatever happens to processes, clocks and features."""

from __future__ import annotations

import gzip
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.decider import Decider
from edge_mlops_monitor.drift.profiling import profile_of
from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.profiler import Profiler
from edge_mlops_monitor.profiles import merge
from edge_mlops_monitor.records import Prediction, Profile
from edge_mlops_monitor.store import Store

SETTINGS = Settings(learn_reference=400, learn_reference_hours=0)
NONE = ([], [])
HOUR = 3600.0
DAY = 86_400.0 * 20_000


def predictions(count: int, seconds: float = 9.0, seed: int = 1) -> list[Prediction]:
    draw = random.Random(seed)
    rows = []
    for i in range(count):
        inputs: dict[str, Any] = {"x": draw.gauss(20, 1), "colour": draw.choice("rgb")}
        if i % 7 == 0:
            inputs["x"] = None
        if 200 < i < 900:
            inputs["seldom"] = float(i % 5)
        rows.append(Prediction(ts=DAY + i * seconds, inputs=inputs, model="m", source="s"))
    return rows


def decide(path: Path, rows: list[Prediction], restart: Callable[[int], str] = lambda block: "") -> Store:
    """The store after a decider saw these rows, thrown away where `restart(block)` says so."""
    clock = ManualClock()
    store = Store(path, clock=clock)
    store.query("PRAGMA synchronous = OFF")
    decider = Decider(lambda: store, SETTINGS, clock=clock)
    for block, first in enumerate(range(0, len(rows), 50)):
        with store.transaction() as tx:
            tx.append("predictions", rows[first : first + 50])
        clock.advance(70)
        how = restart(block)
        if how == "before":
            decider = Decider(lambda: store, SETTINGS, clock=clock)
        decider.step(clock.monotonic())
        if how == "close":
            decider.close()
        if how in ("close", "after"):
            decider = Decider(lambda: store, SETTINGS, clock=clock)
    decider.step(clock.monotonic())
    decider.close()
    return store


def stored(store: Store, feature: str = "") -> list[Profile]:
    found = [one for one in store.newest("profiles") if isinstance(one, Profile)]
    return [one for one in reversed(found) if feature in ("", one.feature)]


def figures(one: Profile) -> dict[str, Any]:
    """What depends on the rows alone, not on windows or references."""
    told = one.to_dict()
    for name in ("seq", "generation", "boot_id", "clock_synced", "device_id", "windows", "labels"):
        del told[name]
    for name in ("reference", "bins", "bin_counts", "reference_counts"):
        del told[name]
    return told


def test_every_row_is_in_exactly_one_profile_whatever_the_restarts(tmp_path: Path) -> None:
    rows = predictions(2400)
    chance = random.Random(4)
    for how in ("", "close", "after", "before", "mixed"):
        options = ["close", "after", "before"] if how == "mixed" else [how]
        store = decide(
            tmp_path / f"{how}.db",
            rows,
            lambda block, options=options: chance.choice(options) if chance.random() < 0.4 else "",  # type: ignore[misc]
        )
        for name in ("x", "colour"):
            column = [row.inputs.get(name) for row in rows]
            expected = profile_of(
                f"inputs.{name}", column, ts=[row.ts for row in rows], model="m", source="s"
            )
            assert figures(merge(stored(store, f"inputs.{name}"))) == figures(expected), how
        assert {one.model_version for one in stored(store)} == {None}
        store.close()


def test_windows_are_hours_of_the_datas_own_time(tmp_path: Path) -> None:
    store = decide(tmp_path / "m.db", predictions(1200))
    found: dict[float, int] = {}
    for one in stored(store, "inputs.x"):
        assert one.ts // HOUR == one.until // HOUR
        found[one.ts // HOUR] = found.get(one.ts // HOUR, 0) + one.rows
    assert list(found.values()) == [400, 400, 400]
    store.close()


def test_bins_begin_when_a_reference_is_there_and_no_profile_mixes(tmp_path: Path) -> None:
    store = decide(tmp_path / "m.db", predictions(1200))
    found = stored(store, "inputs.x")
    learned = [one for one in found if one.reference]
    assert learned == found[-len(learned) :]
    assert len({one.reference for one in learned}) == 1
    for one in learned:
        assert sum(one.bin_counts) == one.rows
        assert one.bin_counts[-1] == one.missing
        assert len(one.bins) == len(one.bin_counts) == len(one.reference_counts)
        assert sum(one.reference_counts) >= 400
    assert 300 < sum(one.rows for one in found if not one.reference) < 450
    store.close()


def test_a_feature_that_is_gone_is_missing_and_then_no_more(tmp_path: Path) -> None:
    store = decide(tmp_path / "m.db", predictions(2000))
    found = stored(store, "inputs.seldom")
    assert sum(one.numbers for one in found) == 699
    assert sum(one.rows for one in found) == 1400, (
        "from the block in which it came up to the first empty hour"
    )
    assert found[-1].missing == found[-1].rows == 400
    store.close()


# - time -


def profiled(moments: list[list[float]]) -> list[Profile]:
    """The profiles of blocks of rows at these times, in seconds."""
    profiler = Profiler(HOUR, 100)
    for block in moments:
        profiler.take(("m", None, None), {"a": [1.0] * len(block)}, block, NONE)
    profiler.close()
    assert sum(one.rows for one in profiler.closed) == sum(map(len, moments))
    return profiler.closed


def test_a_window_ends_within_a_block() -> None:
    assert [(one.rows, one.ts) for one in profiled([[3590.0, 3599.0, 3600.0], [3700.0]])] == [
        (2, 3590.0),
        (2, 3600.0),
    ]


def test_late_rows_are_counted_where_they_come() -> None:
    found = profiled([[3500.0, 3700.0, 3599.0, 3601.0], [3598.0, 3800.0]])
    assert [(one.rows, one.ts, one.until) for one in found] == [(1, 3500.0, 3500.0), (5, 3598.0, 3800.0)]


def test_a_clock_that_jumps_ahead_and_back_begins_new_windows() -> None:
    found = profiled([[100.0] * 10, [2e9] * 10, [200.0] * 10])
    assert [(one.rows, one.ts) for one in found] == [(10, 100.0), (10, 2e9), (10, 200.0)]


def test_times_without_any_order_do_not_make_a_profile_a_row() -> None:
    draw = random.Random(5)
    blocks = [[draw.uniform(0, 1e9) for _ in range(100)] for _ in range(10)]
    assert len(profiled(blocks)) <= 11
    assert len(profiled([[math.nan, 5.0, math.inf]])) == 1


def test_a_stream_that_falls_silent_is_closed_by_the_others() -> None:
    profiler = Profiler(HOUR, 100)
    profiler.take(("m", None, "one"), {"a": [1.0]}, [10.0], NONE)
    for hour in range(3):
        assert [one.source for one in profiler.closed] == ["two"] * (hour - 1)
        profiler.take(("m", None, "two"), {"a": [1.0]}, [hour * HOUR + 20], NONE)
    assert sorted(one.source for one in profiler.closed if one.source) == ["one", "two", "two"]


def test_windows_are_closed_where_nothing_comes_for_an_hour() -> None:
    profiler = Profiler(HOUR, 100)
    profiler.take(("m", None, None), {"a": [1.0]}, [10.0], NONE)
    profiler.have_read(1, 10, 1000.0)
    profiler.rest(1000.0 + HOUR)
    assert profiler.closed == []
    profiler.rest(1001.0 + HOUR)
    assert [one.rows for one in profiler.closed] == [1]


# - bounds -


def test_features_beyond_the_limit_have_no_profile() -> None:
    profiler = Profiler(HOUR, 3)
    for stream in range(3):
        columns = {f"{stream}-{i}": [1.0] for i in range(2)}
        profiler.take(("m", None, str(stream)), columns, [10.0], NONE)
    profiler.close()
    assert [one.feature for one in profiler.closed] == ["0-0", "0-1", "1-0"]


def test_the_state_is_written_seldom(tmp_path: Path) -> None:
    clock = ManualClock()
    store = Store(tmp_path / "m.db", clock=clock)
    store.query("PRAGMA synchronous = OFF")
    reference = build({f"x{i}": [random.gauss(0, 1) for _ in range(500)] for i in range(10)})
    decider = Decider(lambda: store, SETTINGS, lambda: reference, clock=clock)
    draw = random.Random(2)
    written = 0
    state: bytes | None = None
    for block in range(200):
        rows = [
            Prediction(ts=DAY + block, inputs={f"x{i}": draw.gauss(0, 1) for i in range(10)})
            for _ in range(50)
        ]
        with store.transaction() as tx:
            tx.append("predictions", rows)
        clock.advance(400)
        decider.step(clock.monotonic())
        now = store.get("profiler")
        if now != state:
            state, written = now, written + len(now or b"")
    read = sum(len(block.payload) for block in store.blocks("predictions", limit=1000))
    assert 0 < written < read / 32
    store.close()


# - orders -


def made(tmp_path: Path, **model_logging: Any) -> EdgeMonitor:
    return EdgeMonitor(
        config={
            "storage": {"sqlite_path": str(tmp_path / "m.db")},
            "model_logging": {"flush_interval_seconds": 0.01, **model_logging},
            "sinks": {"folder": {"type": "file", "path": str(tmp_path / "bucket")}},
        }
    )


def log(monitor: EdgeMonitor, begin: int, count: int) -> None:
    for i in range(begin, begin + count):
        monitor.log_prediction({"x": float(i), "user": f"u{i % 3}"}, "ok", model="m", timestamp=DAY + i)


def test_profiles_are_read_exported_and_uploaded_like_every_kind(tmp_path: Path) -> None:
    with made(tmp_path) as monitor:
        log(monitor, 0, 500)
    found = {one.feature: one for one in monitor.profiles(model="m")}
    assert sorted(found) == ["inputs.user", "inputs.x", "outputs.value"]
    assert (found["inputs.x"].mean, found["inputs.x"].rows) == (249.5, 500)
    assert found["outputs.value"].labels == {"ok": [500, 500]}
    assert list(monitor.profiles(until=DAY - 1)) == []
    assert monitor.get_status()["profile_count"] == 3
    assert monitor.upload_now()["pending"] == 0
    (object_,) = (tmp_path / "bucket").glob("v1/kind=profiles/*/*.jsonl.gz")
    lines = gzip.decompress(object_.read_bytes()).splitlines()
    arrived = [msgspec.json.decode(line, type=Profile) for line in lines]
    assert {one.feature: one for one in arrived} == found
    monitor.stop()


def test_what_is_redacted_is_in_no_profile(tmp_path: Path) -> None:
    with made(tmp_path, redact={"inputs.user": "drop"}) as monitor:
        log(monitor, 0, 20)
    assert sorted(one.feature for one in monitor.profiles()) == ["inputs.x", "outputs.value"]


def test_profiles_can_be_turned_off(tmp_path: Path) -> None:
    with made(tmp_path, profile_minutes=0) as monitor:
        log(monitor, 0, 20)
    assert list(monitor.profiles()) == []


def test_purge_erases_profiles_that_began_before_the_time_stored_or_open(tmp_path: Path) -> None:
    monitor = made(tmp_path)
    monitor.start()
    log(monitor, 0, 100)
    monitor.stop()
    assert len(list(monitor.profiles())) == 3
    monitor.start()
    log(monitor, 100, 100)
    assert monitor.flush()
    monitor.check_drift()  # what was logged is in the open windows now
    assert monitor.purge(before=DAY + 150)["profiles"] == 3
    log(monitor, 200, 50)
    monitor.stop()
    assert [one.ts for one in monitor.profiles()] in ([], [DAY + 200] * 3)
    log(monitor, 300, 50)
    monitor.start()
    monitor.check_drift()
    monitor.stop()
    rows = {one.feature: one.rows for one in monitor.profiles(since=DAY + 300)}
    assert rows == {"inputs.x": 50, "inputs.user": 50, "outputs.value": 50}


@pytest.mark.parametrize("rows", [0, 7])
def test_a_restored_profiler_goes_on_where_it_was(tmp_path: Path, rows: int) -> None:
    store = Store(tmp_path / "m.db")
    reference = build({"a": [float(i % 90) for i in range(900)]})
    in_force = ["a"], reference
    one = Profiler(HOUR, 10)
    one.restore(None, 3, None)
    one.take(("m", None, None), {"a": [float(i) for i in range(50)]}, [20.0] * 50, in_force)
    one.have_read(7, 10, 0.0)
    with store.transaction() as tx:
        one.write(tx)
    other = Profiler(HOUR, 10)
    other.restore(store.get("profiler"), 0, None)
    assert other.cursor == 7
    for profiler in (one, other):
        profiler.take(("m", None, None), {"a": [5.0] * (rows + 1)}, [30.0] * (rows + 1), in_force)
        profiler.close()
    assert one.closed == other.closed
    assert one.closed[0].rows == 51 + rows
    store.close()
