"""Scoring: alarms held against what is known to have happened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.scoring import Change, baselines, score, with_ends


def test_the_first_alarm_between_a_change_and_the_next_is_a_hit_and_later_ones_are_repeats() -> None:
    found = score([90, 130, 150, 420], [Change(100), Change(200), Change(400)], rows=1000)
    assert [(one.start, one.end, one.alarm, one.delay) for one in found.changes] == [
        (100, 200, 130, 30),
        (200, 400, None, None),
        (400, 1000, 420, 20),
    ]
    assert (found.false_alarms, found.repeated, found.elsewhere, found.missed) == (1, 1, 0, 1)
    assert (found.stable_rows, found.median_delay) == (100, 25)


def test_an_alarm_after_the_end_of_a_change_is_false() -> None:
    found = score([50, 61], [Change(40, 60)], rows=100)
    assert (found.delays, found.false_alarms, found.stable_rows) == ([10], 1, 80)


def test_an_alarm_on_another_feature_finds_nothing_and_is_not_false_while_something_is_changed() -> None:
    changes = [Change(100, feature="a"), Change(300, feature="inputs.b")]
    found = score([(50, "b"), (120, "inputs.b"), (310, "b"), (340, "inputs.a")], changes, rows=500)
    assert [change.alarm for change in found.changes] == [340, 310]
    assert found.changes[0].end == 500  # the next change is of another feature
    assert (found.false_alarms, found.elsewhere, found.repeated) == (1, 1, 0)


def test_no_change_makes_every_alarm_false_and_no_stable_row_makes_no_rate() -> None:
    assert score([1, 2], [], rows=10).false_alarms == 2
    assert score([1, 2], [], rows=10).median_delay is None
    found = score([5], [Change(0)], rows=10)
    assert found.stable_rows == 0


@pytest.mark.parametrize("start", [-1, 100, 5000])
def test_a_change_outside_the_data_is_one_sentence(start: int) -> None:
    with pytest.raises(DataError, match=f"row {start} is not in the data, whose rows are 0 to 99; rows are"):
        score([], [Change(start)], rows=100)


def test_always_firing_misses_nothing_and_pays_in_false_alarms() -> None:
    found = baselines(3, [Change(600), Change(800, 900)], rows=1000, every=25)
    assert (found["never"].missed, found["never"].false_alarms) == (2, 0)
    assert (found["always"].delays, found["always"].false_alarms) == ([24, 24], 28)
    assert found["periodic"].false_alarms + found["periodic"].repeated + len(found["periodic"].delays) == 3


@given(
    st.lists(st.tuples(st.integers(0, 199), st.sampled_from([None, "a", "b"])), max_size=30),
    st.lists(st.builds(Change, st.integers(0, 199), feature=st.sampled_from([None, "a", "b"])), max_size=5),
)
def test_every_alarm_counts_once(alarms: list[tuple[int, str | None]], changes: list[Change]) -> None:
    found = score(alarms, changes, rows=200)
    hits = {(change.alarm, row) for change in found.changes for row, _ in alarms if change.alarm == row}
    at_hits = sum(1 for row, _ in alarms if any(row == hit for hit, _ in hits))
    counted = found.false_alarms + found.repeated + found.elsewhere
    assert len(alarms) - at_hits <= counted <= len(alarms)
    assert len(found.changes) == len(changes) == found.missed + len(found.delays)
    starts = sorted(change.start for change in changes)
    assert found.stable_rows == (starts[0] if starts else 200)
    assert all(start < end <= 200 for start, end, _ in with_ends(changes, 200))
