"""Fewer digits for the rows that a reference by the hour is learned from: what must not change by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mlops_monitor.drift import learning
from edge_mlops_monitor.drift.kept import Kept
from edge_mlops_monitor.drift.learning import CONTEXT
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.quality.healthy import healthy
from edge_mlops_monitor.quality.stuck import run_lengths

BLOCK = 10
Floats = np.ndarray[Any, Any]
Random = np.random.Generator


def bimodal(rng: Random, rows: int) -> Floats:
    return np.where(rng.random(rows) < 0.5, 0.0, 100.0) + 0.01 * rng.normal(size=rows)


def mostly_a_tenth(rng: Random, rows: int) -> Floats:
    return np.where(rng.random(rows) < 0.4, 0.1, rng.exponential(size=rows))


def wandering(rng: Random, rows: int) -> Floats:
    return np.cumsum(rng.normal(size=rows))


SHAPES: dict[str, Callable[[Random, int], Floats]] = {
    "normal": lambda rng, rows: rng.normal(size=rows),
    "far from zero": lambda rng, rows: 1e5 + 0.1 * rng.normal(size=rows),
    "negative": lambda rng, rows: -rng.exponential(size=rows),
    "heavy tails": lambda rng, rows: rng.standard_cauchy(size=rows),
    "steps of a sensor": lambda rng, rows: np.round(rng.normal(size=rows) * 400) * 0.0625,
    "two modes": bimodal,
    "mostly a tenth": mostly_a_tenth,
    "wandering": wandering,
    "tiny and huge": lambda rng, rows: rng.normal(size=rows) * 10.0 ** rng.integers(-300, 300, rows),
}


def rounded(values: Floats, contexts: Floats, at_once: int = 5) -> Kept:
    """What is kept of rows that come block by block."""
    kept, fresh = Kept(), []
    for place in range(len(values) // BLOCK):
        kept.put(place * BLOCK, values[place * BLOCK : (place + 1) * BLOCK])
        fresh.append(place)
        if len(fresh) == at_once or place == len(values) // BLOCK - 1:
            so_far = np.arange((place + 1) * BLOCK)
            kept.round(np.isin(so_far // BLOCK, fresh), contexts[so_far], BLOCK)
            fresh = []
    return kept


def hours(rows: int, each: int = 50, of: int = 4) -> Floats:
    return np.arange(rows) // each % of


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("each", [7, 50])
def test_a_bin_that_ends_where_a_cell_does_holds_the_rows_it_held(shape: str, each: int) -> None:
    values = SHAPES[shape](np.random.default_rng(1), 800)
    contexts = hours(800, each)
    kept = rounded(values, contexts)
    back = np.asarray(kept.column(range(800)))
    assert kept.rounded
    assert (back != values).any()
    for context in range(4):
        before, after = values[contexts == context], back[contexts == context]
        for end in np.unique(after):
            assert (after <= end).sum() == (before <= end).sum()


@given(st.integers(0, 2**32), st.sampled_from(sorted(SHAPES)), st.integers(1, 120), st.integers(1, 12))
def test_so_it_does_however_the_rows_come(seed: int, shape: str, each: int, at_once: int) -> None:
    values, contexts = SHAPES[shape](np.random.default_rng(seed), 400), hours(400, each, 2)
    back = np.asarray(rounded(values, contexts, at_once).column(range(400)))
    for context in range(2):
        before, after = np.sort(values[contexts == context]), np.sort(back[contexts == context])
        ends = np.unique(after)
        assert (np.searchsorted(after, ends, "right") == np.searchsorted(before, ends, "right")).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_equal_is_equal_in_the_eyes_of_the_checks_and_what_was_not_is_not(shape: str) -> None:
    values = SHAPES[shape](np.random.default_rng(2), 800)
    values[:-1:3] = values[1::3][: len(values[:-1:3])]  # repeated now and then
    near = np.asarray(rounded(values, hours(800)).column(range(800), hours(800), BLOCK))
    before, after = values.reshape(-1, 1, BLOCK), near.reshape(-1, 1, BLOCK)
    assert ((before == before.swapaxes(1, 2)) == (after == after.swapaxes(1, 2))).all()


def test_a_smooth_signal_does_not_look_stuck_or_sent_twice_to_them() -> None:
    values = np.sin(np.arange(4000) / 300) + 1e-6 * np.random.default_rng(3).normal(size=4000)
    kept = rounded(values, np.zeros(4000, dtype=int))
    assert run_lengths(np.asarray(kept.column(range(4000)))).longest > 5
    near = np.asarray(kept.column(range(4000), np.zeros(4000, dtype=int), BLOCK))
    assert run_lengths(near).longest == 1
    assert healthy(near, lambda series: 1.0).echoes < 0.01 * 4000


@pytest.mark.parametrize("sign", [-1, 1])
def test_what_is_beyond_the_first_numbers_has_cells_of_its_own(sign: int) -> None:
    rng = np.random.default_rng(9)
    values = sign * np.concatenate(([63.9, 65.5], 64.1 + rng.random(198), 60 * rng.random(200)))
    back = np.asarray(rounded(values, np.zeros(400, dtype=int)).column(range(400)))
    assert len(np.unique(back[200:])) > 20
    assert np.abs(back - values).max() < 10


@pytest.mark.parametrize(
    "shape", ["normal", "far from zero", "negative", "steps of a sensor", "mostly a tenth"]
)
def test_means_are_those_of_the_numbers_themselves(shape: str) -> None:
    values, contexts = SHAPES[shape](np.random.default_rng(10), 4800), hours(4800, 50, 24)
    near = np.asarray(rounded(values, contexts).column(range(4800), contexts, BLOCK))
    assert abs((near - values).mean()) < 0.03 * values.std()
    assert near.std() == pytest.approx(values.std(), rel=0.05)


@pytest.mark.parametrize("share", [0.03, 0.1, 0.9])
def test_zeros_and_rails_stay_what_they_are_and_are_fallen_to_as_often(share: float) -> None:
    rng, contexts = np.random.default_rng(11), hours(4800, 50, 24)
    wet = np.where(rng.random(4800) < share, 0.0, rng.gamma(2, size=4800))
    noise = rng.normal(size=4800)
    for values in (wet, np.minimum(noise, np.quantile(noise, 1 - share)), np.maximum(noise, -1.1)):
        near = np.asarray(rounded(values, contexts).column(range(4800), contexts, BLOCK))
        found, true = healthy(near, lambda series: 1.0), healthy(values, lambda series: 1.0)
        assert 0.9 * true.falls <= found.falls <= 1.1 * true.falls + 0.005 * 4800
        assert ((near == 0) == (values == 0)).all()


def test_few_different_values_stay_as_they_are() -> None:
    values = np.random.default_rng(4).integers(0, 100, 800) * 0.1
    assert np.asarray(rounded(values, hours(800)).column(range(800))).tolist() == values.tolist()


def test_what_is_missing_infinite_or_text_stays_so() -> None:
    rng = np.random.default_rng(5)
    values: list[Any] = rng.normal(size=800).tolist()
    values[::7], values[1::70], values[2::50] = [None] * 115, [float("inf")] * 12, ["ERR"] * 16
    back = rounded(values, hours(800)).column(range(800))  # type: ignore[arg-type]
    for row, value in enumerate(values):
        assert (
            back[row] == value
            if not isinstance(value, float) or value == float("inf")
            else back[row] != value
        )


def test_a_block_in_place_of_another_is_rounded_to_the_cells_that_are_there() -> None:
    rng = np.random.default_rng(6)
    values, contexts = rng.normal(size=800), hours(800)
    kept = rounded(values, contexts)
    for place in rng.permutation(80).tolist():
        values[place * BLOCK : (place + 1) * BLOCK] = rng.normal(size=BLOCK)
        kept.put(place * BLOCK, values[place * BLOCK : (place + 1) * BLOCK])
        kept.round(np.arange(800) // BLOCK == place, contexts, BLOCK)
    back = np.asarray(kept.column(range(800)))
    for context in range(4):
        before, after = values[contexts == context], back[contexts == context]
        assert len(np.unique(after)) < 80
        for end in np.unique(after):
            assert (after <= end).sum() == (before <= end).sum()


def test_only_what_is_learned_by_the_hour_for_bins_loses_digits() -> None:
    values = np.random.default_rng(7).normal(size=900)
    for settings, exact in [
        (Settings(), True),
        (Settings(context="recipe"), True),
        (Settings(context="hour_of_day", algorithm="ks_test"), True),
        (Settings(context="hour_of_day"), False),
    ]:
        group = learning.begin(["inputs.x"], 0.0, settings)
        group.take({"inputs.x": values, CONTEXT: ["00"] * 900})
        assert (np.asarray(group.column("inputs.x")).tolist() == values.tolist()) == exact


@pytest.mark.parametrize("cut", [3, 10, 777])
def test_a_device_that_learns_by_the_hour_counts_rows_as_they_are(cut: int) -> None:
    """But for a few of the least, where those below them lost their place to others."""
    rng = np.random.default_rng(8)
    values, labels = rng.normal(size=9005), [f"{hour:02d}" for hour in hours(9005, 60, 24)]
    group = learning.begin(["inputs.x"], 0.0, Settings(context="hour_of_day"))
    for begin in range(0, 9005, cut):
        rows = slice(begin, begin + cut)
        group.take({"inputs.x": values[rows], CONTEXT: labels[rows]})
        if begin % 4000 < cut:
            group.round()  # as when it is due, and goes on
    group.round()
    back = np.asarray(group.column("inputs.x"))
    of = np.array(list(group.column(CONTEXT)))
    kept = values[places_of(group)]
    assert 0 <= 24 * learning.KEPT_BY_HOUR - len(back) <= BLOCK  # which may not be whole
    for label in np.unique(of):
        before, after = kept[of == label], back[of == label]
        assert len(np.unique(after)) < 80
        for end in np.unique(after):
            wrong = (before <= end).sum() - (after <= end).sum()
            assert wrong == 0 or (end < np.quantile(before, 0.1) and abs(wrong) <= 3)


def places_of(group: learning.Learning) -> Floats:
    """Which of the rows that came are kept, in order."""
    whole = [block for block in sorted(group.numbers_of_blocks) if block < group.rows // BLOCK]
    return (np.array(whole)[:, None] * BLOCK + np.arange(BLOCK)).ravel()
