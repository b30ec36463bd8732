"""Learning a reference on the device: what is kept of the rows, its size, and when it is enough."""

from __future__ import annotations

import math
import random
import sys
import zlib
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mlops_monitor.drift import learning
from edge_mlops_monitor.drift.autocorrelation import autocorrelation_of_stretches
from edge_mlops_monitor.drift.binning import label, numbers, numeric_bins
from edge_mlops_monitor.drift.kept import MOST_LABELS, Kept
from edge_mlops_monitor.drift.reference import build, build_feature
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher

STREAM = ("detector", "3", "sensor-3")
KIB = 1024
Floats = np.ndarray[Any, Any]


def feed(
    watcher: Watcher, columns: dict[str, Any], step: float = 1.0, size: int = 500, begin: int = 0
) -> list[Any]:
    rows = len(next(iter(columns.values())))
    found: list[Any] = []
    for i in range(0, rows, size):
        part = {name: column[i : i + size] for name, column in columns.items()}
        found += watcher.update(STREAM, part, [step * (begin + j) for j in range(i, min(rows, i + size))])
    return found


def autoregressive(rho: float, rows: int, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    values = [rng.gauss(0, 1)]
    for _ in range(rows - 1):
        values.append(rho * values[-1] + math.sqrt(1 - rho * rho) * rng.gauss(0, 1))
    return values


# - what is kept -


value = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(-(2**63), 2**64 - 1),
    st.integers(10**15, 10**15 + 5),
    st.sampled_from([0.1, 0.30000000000000004, 1e300, 10**400, -0.0, "", "a", "1", "nan", "line\n"]),
)


def same(back: Any, values: list[Any]) -> None:
    """As numbers, and where there is text also as labels."""
    np.testing.assert_array_equal(numbers(back), numbers(values))
    text = any(isinstance(one, str) for one in values)
    assert any(isinstance(one, str) for one in back) == text
    if text:
        assert [label(one) for one in back] == [label(one) for one in values]


@given(st.lists(value, max_size=60), st.integers(1, 60))
def test_a_value_that_is_kept_comes_back_as_what_it_was(values: list[Any], size: int) -> None:
    kept = Kept()
    for begin in range(0, len(values), size):
        kept.put(begin, values[begin : begin + size])
    same(kept.column(range(len(values))), values)


@given(st.lists(st.lists(value, min_size=5, max_size=5), min_size=1, max_size=8), st.data())
def test_a_block_takes_the_place_of_another_and_leaves_nothing_of_it(
    blocks: list[list[Any]], data: Any
) -> None:
    kept, now = Kept(), dict.fromkeys(range(15))
    for block in blocks:
        place = 5 * data.draw(st.integers(0, 2))
        kept.put(place, block)
        now |= dict(enumerate(block, place))
    same(kept.column(range(15)), list(now.values()))


def test_of_endless_labels_the_frequent_ones_are_known_and_each_other_counts_as_seen_once() -> None:
    rng = random.Random(1)
    column = [rng.choice("abc") if rng.random() < 0.5 else f"id {row}" for row in range(1000)]
    kept = Kept()
    for begin in range(0, 1000, 10):
        kept.put(begin, column[begin : begin + 10])
    back = kept.column(range(1000))
    assert len(kept.labels) <= MOST_LABELS
    assert [one in "abc" for one in back] == [one in "abc" for one in column]
    assert len(set(back)) == len(set(column))


@pytest.mark.parametrize("rows", [1, 9, 1000, 1001, 1999, 2000, 2001, 12345])
def test_the_blocks_that_stay_are_complete_and_even_over_the_time(rows: int) -> None:
    group = learning.begin(["inputs.x0"], 0.0, Settings())
    for begin in range(0, rows, 777):
        group.take({"inputs.x0": np.arange(begin, min(rows, begin + 777), dtype=float)})
    times = np.array(group.column("inputs.x0")).reshape(-1, learning.BLOCK_ROWS)
    assert len(times) in {min(rows // 10, 100), min(rows // 10, 100) - 1}
    assert (times == times[:, :1] + np.arange(10)).all()
    gaps = np.diff(times[:, 0])
    if len(gaps):
        assert gaps.max() <= 4 * max(10.0, rows / 100)
        assert len(set(gaps)) <= 4  # a fourth around the place of a block that is not complete
        assert times[0, 0] == 0
        assert times[-1, -1] >= rows - 2 * gaps.max()


# - how much room it takes -


KINDS = {
    "numbers": lambda rng: rng.gauss(0, 1),
    "labels": lambda rng: rng.choice(["left", "right", "upside down"]),
    "endless labels": lambda rng: f"{rng.getrandbits(128):032x}",
    "missing": lambda rng: rng.choice([None, rng.gauss(0, 1)]),
    "whole": lambda rng: rng.randrange(10**6),
    "text among numbers": lambda rng: rng.gauss(0, 1) if rng.random() < 0.93 else "ERR",
}


@pytest.mark.parametrize("features", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_state_while_a_reference_is_learned_takes_at_most_8_kib_a_feature(
    kind: str, features: int
) -> None:
    rng = random.Random(3)
    watcher = Watcher(Settings())
    for begin in range(0, 3000, 500):
        columns = {f"inputs.x{i}": [KINDS[kind](rng) for _ in range(500)] for i in range(features)}
        feed(watcher, columns, begin=begin)
        assert len(watcher.state()) / features <= 8 * KIB


def test_so_does_an_only_feature_with_a_long_name_whose_rows_come_at_odd_times() -> None:
    rng, watcher, most = np.random.default_rng(7), Watcher(Settings()), 0
    values, times = rng.normal(size=6000), 1.7e9 + np.cumsum(1 + rng.random(6000) / 20)
    stream = ("pump-anomaly", "2026-03-01.4", "line-7/sensor-3")
    for begin in range(0, 6000, 250):
        rows = slice(begin, begin + 250)
        watcher.update(stream, {"inputs.temperature_of_the_bearing": values[rows]}, times[rows])
        most = max(most, len(watcher.state()))
    assert watcher.status()[stream]["inputs.temperature_of_the_bearing"]["state"] == "learning"
    assert most <= 8 * KIB


DAILY: dict[str, Any] = KINDS | {
    "a daily cycle": lambda rng: rng.gauss(0, 1),
    "heavy tails": lambda rng: math.tan(math.pi * (rng.random() - 0.5)),
    "two modes": lambda rng: rng.choice([0.0, 100.0]) + rng.gauss(0, 0.01),
    "far from zero": lambda rng: 1e5 + rng.gauss(0, 0.1),
    "a sensor's steps": lambda rng: round(rng.gauss(0, 1) * 8) * 0.1,
    "fine steps": lambda rng: round(rng.gauss(0, 1) * 400) * 0.0625,
}


@pytest.mark.parametrize("kind", DAILY)
def test_so_does_an_only_feature_while_it_is_learned_by_the_hour(kind: str) -> None:
    rng, day = random.Random(8), 720
    watcher, most = Watcher(Settings(context="hour_of_day")), 0
    for begin in range(0, 6 * day, day // 3):
        column = [DAILY[kind](rng) for _ in range(day // 3)]
        if kind == "a daily cycle":
            column = [x + 3.3 * math.sin(2 * math.pi * (begin + i) / day) for i, x in enumerate(column)]
        feed(watcher, {"inputs.x0": column}, step=120.0, begin=begin)
        if watcher.status()[STREAM]["inputs.x0"]["state"] == "learning":
            most = max(most, len(watcher.state()))
    assert 1000 < most <= 8 * KIB


def test_what_is_watched_by_the_hour_takes_at_most_8_kib_of_state_after_a_week() -> None:
    rng, times = np.random.default_rng(5), 60.0 * np.arange(8 * 24 * 60)
    values = 3 * np.sin(2 * np.pi * times / 86_400) + rng.normal(size=len(times))
    watcher = Watcher(Settings(context="hour_of_day"))
    feed(watcher, {"inputs.x0": values}, step=60.0)
    assert watcher.status()[STREAM]["inputs.x0"]["state"] == "fine"
    assert len(watcher.state()) <= 8 * KIB


@pytest.mark.parametrize("features", [2, 8])
def test_so_does_each_of_some_features_while_it_is_learned_how_they_go_together(features: int) -> None:
    rng = np.random.default_rng(6)
    names = [f"inputs.x{i}" for i in range(features)]
    watcher = Watcher(Settings(), build({name: rng.normal(size=1000) for name in names}, together=False))
    feed(watcher, {name: rng.normal(size=1000) for name in names})
    (group,) = watcher._streams[STREAM].learning
    assert group.joint
    assert len(watcher.state()) / features <= 8 * KIB


@pytest.mark.parametrize("kind", KINDS)
def test_learning_takes_at_most_8_kib_of_memory_a_feature(kind: str) -> None:
    rng, names = random.Random(4), [f"inputs.x{i}" for i in range(20)]
    group = learning.begin(names, 0.0, Settings())
    for _ in range(200):
        group.take({name: [KINDS[kind](rng) for _ in range(10)] for name in names})
    parts = [group, group.ranks, group.kept, *group.kept.values()]
    for kept in group.kept.values():
        parts += [kept.numbers, kept.codes, *kept.labels]
        parts += [kept.labels] if kept.labels else []
    assert sum(map(sys.getsizeof, parts)) / len(names) <= (8.1 if kind == "text among numbers" else 8) * KIB


# - when it is enough -


def test_a_feature_that_follows_itself_closely_is_learned_from_rows_that_are_far_apart() -> None:
    watcher = Watcher(Settings(average_run_length=1e6))
    feed(watcher, {"inputs.x0": np.array(autoregressive(0.97, 20_000))}, step=10.0, size=5000)
    (learned,) = watcher.references()
    assert learned.n <= 1000
    assert learned.effective_rows >= 50
    assert learned.tau > 40  # 66 in truth, of which rows that follow each other are worth one


def test_a_text_here_and_there_does_not_make_stretches_look_more_independent() -> None:
    rng = random.Random(7)
    series = np.array(autoregressive(0.9, 100_000)).reshape(100, 1000)[:, :10].ravel()
    whole = build_feature("inputs.x0", series, segment=10)
    some = build_feature("inputs.x0", ["ERR" if rng.random() < 0.03 else x for x in series], segment=10)
    assert some.numeric
    assert some.n % 10 == 0
    assert some.tau > whole.tau / 2


def test_of_many_labels_whole_stretches_are_counted() -> None:
    labels = [f"{stretch % 40}" for stretch in range(99) for _ in range(10)]
    assert build_feature("inputs.x0", labels, segment=10).n == 490  # of the second half


def test_stretches_that_are_far_apart_are_worth_what_their_means_vary_by() -> None:
    rho, worth = 0.9, []
    for seed in range(10):
        series = np.array(autoregressive(rho, 100_000, seed)).reshape(100, 1000)[:, :10].ravel()
        bins = numeric_bins(series)
        worth.append(autocorrelation_of_stretches(bins.codes(series), bins.size, 10, bins.ordered)[1])
    truth = 1000 / (1 + 2 * sum((1 - lag / 10) * rho**lag for lag in range(1, 10)))
    assert 0.7 * truth <= np.median(worth) <= truth  # at a lower confidence limit


def test_what_wanders_ever_more_slowly_over_a_stretch_gives_no_warning_and_is_not_enough() -> None:
    ramp = np.repeat(np.linspace(0, 1, 100), 10)
    bins = numeric_bins(ramp)
    tau, worth = autocorrelation_of_stretches(bins.codes(ramp), bins.size, 10, bins.ordered)
    assert math.isfinite(tau)
    assert worth < 50


@pytest.mark.parametrize("period", [2, 5, 10])
def test_a_cycle_that_ends_with_each_stretch_gives_no_warning(period: int) -> None:
    series = np.arange(1000) % period
    tau, worth = autocorrelation_of_stretches(series, period, 10, period)
    assert tau < period
    assert worth == 1000


def test_a_feature_that_is_not_enough_goes_on_for_twice_the_time_it_took() -> None:
    minutes = np.arange(9 * 24 * 60)
    sine = np.sin(2 * np.pi * minutes / 1440) + np.random.default_rng(5).normal(size=len(minutes)) / 10
    watcher = Watcher(Settings(learn_reference=200))
    assert feed(watcher, {"inputs.x0": sine[: 30 * 60]}, step=60.0) == []
    (group,) = watcher._streams[STREAM].learning
    assert group.target == pytest.approx(2 * 24 * 60, abs=20)
    feed(watcher, {"inputs.x0": sine[30 * 60 :]}, step=60.0, begin=30 * 60)
    assert not watcher._streams[STREAM].learning  # after eight days it is given up
    assert watcher.status()[STREAM]["inputs.x0"]["state"] == "not_enough_reference"


# - calls and restarts -


def odd(rows: int) -> dict[str, list[Any]]:
    rng = random.Random(6)
    return {
        "inputs.id": [
            rng.choice("ab") if rng.random() < 0.4 else f"{rng.randrange(400)}" for _ in range(rows)
        ],
        "inputs.mixed": [rng.choice(["oops", None, 2**60, rng.gauss(0, 1), True]) for _ in range(rows)],
        "inputs.step": [rng.randrange(30) / 10 for _ in range(rows)],
    }


@settings(max_examples=12)
@given(st.lists(st.integers(1, 2399), max_size=30))
def test_cuts_and_restarts_change_nothing_while_odd_values_are_learned(cuts: list[int]) -> None:
    data, chosen = odd(2400), Settings(learn_reference=300, learn_reference_hours=0.6)
    whole, parts = Watcher(chosen), Watcher(chosen)
    expected = whole.update(STREAM, data, [float(row) for row in range(2400)])
    edges, found = sorted({0, 2400, *cuts}), []
    for begin, end in pairwise(edges):
        part = {name: column[begin:end] for name, column in data.items()}
        found += parts.update(STREAM, part, [float(row) for row in range(begin, end)])
        state = parts.state()
        parts = Watcher(chosen)
        assert parts.restore(state)
        assert parts.state() == state
    assert found == expected
    assert parts.state() == whole.state()
    assert {one.name for one in whole.references()} >= {"inputs.id", "inputs.step"}


def test_a_state_of_another_version_is_refused_and_learning_begins_anew() -> None:
    watcher = Watcher(Settings(learn_reference_hours=0))
    feed(watcher, {"inputs.x0": autoregressive(0, 700)})
    state = msgspec.msgpack.decode(zlib.decompress(watcher.state()))
    state["version"] -= 1
    old = {"names": ["inputs.x0"], "started_ts": 0.0, "started_row": 0, "target": 1000, "open": {}}
    old["kept"] = [{"inputs.x0": [0.0] * 25}] * 28
    state["streams"][0]["learning"] = [old]
    again = Watcher(Settings(learn_reference_hours=0))
    assert again.restore(zlib.compress(msgspec.msgpack.encode(state))) is False
    feed(again, {"inputs.x0": autoregressive(0, 1000, seed=1)})
    assert again.status()[STREAM]["inputs.x0"]["state"] == "not_enough_data"
