"""Streaming detectors: river's streams to the index, state, bad input, and what they promise."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mlops_monitor import drift
from edge_mlops_monitor.drift.detectors.adwin import boundaries
from edge_mlops_monitor.errors import DataError, UnknownNameError

STREAMS = Path(__file__).resolve().parents[2] / "shared" / "data" / "river" / "drift_detector_streams.json"
needs_streams = pytest.mark.skipif(not STREAMS.exists(), reason="no ../shared/data with river's streams")

DETECTORS = ["adwin", "kswin", "page_hinkley", "cusum", "ewma", "ddm", "eddm", "hddm_a", "hddm_w"]
OF_ERRORS = ["ddm", "eddm", "hddm_a", "hddm_w"]
CAREFUL: dict[str, dict[str, Any]] = {
    "kswin": {"alpha": 0.0001},
    "cusum": {"mean": 0.0, "sd": 1.0, "threshold": 10.0},
    "ewma": {"mean": 0.0, "sd": 1.0, "threshold": 4.0},
}
every = pytest.mark.parametrize("name", DETECTORS)

THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "ADWIN()": ("adwin", {}),
    "PageHinkley()": ("page_hinkley", {}),
    "DDM()": ("ddm", {}),
    "EDDM()": ("eddm", {}),
    "HDDMA()": ("hddm_a", {}),
    "HDDMW()": ("hddm_w", {}),
    "HDDM_A(two_sided_test=True)": ("hddm_a", {"two_sided_test": True}),
    "HDDM_W(two_sided_test=True)": ("hddm_w", {"two_sided_test": True}),
    "KSWIN(alpha=0.0001,seed=42)": ("kswin", {"alpha": 0.0001}),
    "KSWIN(alpha=0.0001,window_size=200,stat_size=100,seed=42)": (
        "kswin",
        {"alpha": 0.0001, "window_size": 200, "stat_size": 100},
    ),
}


def stream_for(name: str, rows: int = 3000) -> list[float]:
    """Stable, then changed after two thirds: numbers, or errors where the detector takes those."""
    chance = random.Random(7)
    if name in OF_ERRORS:
        return [float(chance.random() < (0.1 if i < rows * 2 // 3 else 0.6)) for i in range(rows)]
    return [chance.gauss(0.0 if i < rows * 2 // 3 else 3.0, 1.0) for i in range(rows)]


def one_by_one(detector: Any, values: list[Any]) -> list[int]:
    fired = []
    for index, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            fired.append(index)
    return fired


@needs_streams
def test_rivers_streams_fire_at_the_same_indices() -> None:
    data = json.loads(STREAMS.read_text())
    seen = 0
    for stream, results in data["run_here"]["results"].items():
        for theirs, expected in results.items():
            if theirs not in THEIRS:
                assert theirs == "FHDDM()"
                continue
            name, parameters = THEIRS[theirs]
            found = drift.detector(name, **parameters).update_many(data["streams"][stream])
            if name == "kswin":  # they draw random samples
                assert len(found) == len(expected), (theirs, stream, found)
                assert all(abs(a - b) <= 30 for a, b in zip(found, expected, strict=True))
            else:
                assert found == expected, (theirs, stream)
            seen += 1
    assert seen == 34


@needs_streams
def test_the_published_cusum_fires_at_the_same_indices() -> None:
    stream = json.loads(STREAMS.read_text())["streams"]["s7"]
    assert drift.detector("cusum", min_instances=30, slack=0.5, threshold=5).update_many(stream) == [201, 251]


def test_adwins_statistics_are_those_of_its_window() -> None:
    detector = drift.detector("adwin", clock=1000)
    values = [float(i % 7) for i in range(200)]
    assert detector.update_many(values) == []
    assert (detector.width, detector.total) == (200, 594.0)
    assert detector.estimation == pytest.approx(2.97)
    stable = drift.detector("adwin")
    assert stable.update_many([1.0] * 5000) == []
    assert stable.width == 5000


def test_adwins_buckets_are_those_of_merging_one_by_one() -> None:
    for most in (2, 3, 5, 8):
        levels: list[list[int]] = [[]]
        for rows in range(1, 400):
            levels[0].append(1)
            for level, sizes in enumerate(levels):
                if len(sizes) > most:
                    del sizes[:2]
                    if level + 1 == len(levels):
                        levels.append([])
                    levels[level + 1].append(2 ** (level + 1))
                else:
                    break
            sizes_oldest_first = [size for level in reversed(levels) for size in level]
            places = [place for place in boundaries(np.array([rows]), most)[0].tolist() if place >= 0]
            assert places == [0, *np.cumsum(sizes_oldest_first).tolist()], (most, rows)


def test_adwin_keeps_the_part_of_the_window_that_holds_together() -> None:
    detector = drift.detector("adwin")
    fired = detector.update_many([0.0, 0.1] * 500 + [5.0, 5.1] * 12)
    assert fired == [1023]
    assert detector.width < 100
    assert detector.estimation > 1


@every
def test_a_change_is_found_and_a_stable_stream_mostly_left_alone(name: str) -> None:
    found = drift.detector(name, **CAREFUL.get(name, {})).update_many(stream_for(name))
    assert any(2000 <= index < 2100 for index in found)
    if name != "eddm":  # known to be nervous
        assert sum(index < 2000 for index in found) <= 1


@every
def test_many_at_once_fire_as_one_by_one_and_end_in_the_same_state(name: str) -> None:
    values = stream_for(name, 1500)
    many, one, parts = (drift.detector(name) for _ in range(3))
    fired = many.update_many(np.array(values))
    assert one_by_one(one, values) == fired
    found: list[int] = []
    chance, start = random.Random(3), 0
    while start < len(values):
        end = start + chance.randrange(1, 90)
        found += [start + index for index in parts.update_many(values[start:end])]
        start = end
    assert found == fired
    if name != "kswin":  # what it knows not to need a look depends on where it looked
        assert one.state() == many.state() == parts.state()


@every
def test_state_goes_to_bytes_and_back_bit_for_bit(name: str) -> None:
    values = stream_for(name)
    whole = drift.detector(name)
    expected = whole.update_many(values)
    for cut in (0, 1, 29, 555, 2017, len(values)):
        first = drift.detector(name)
        found = first.update_many(values[:cut])
        second = drift.detector(name)
        second.restore(first.state())
        assert second.state() == first.state()
        found += [cut + index for index in second.update_many(values[cut:])]
        assert found == expected
        assert len(second.state()) <= 8192


@every
def test_a_state_of_another_kind_is_refused(name: str) -> None:
    other = drift.detector("ddm" if name != "ddm" else "eddm").state()
    renamed = msgspec.msgpack.encode(["other", msgspec.msgpack.decode(drift.detector(name).state())[1]])
    for wrong in (other, renamed, b"", b"nonsense", b"\x91\x01"):
        with pytest.raises(DataError, match="no state of"):
            drift.detector(name).restore(wrong)


@every
def test_missing_values_are_skipped_and_keep_their_place(name: str) -> None:
    values = stream_for(name)
    expected = drift.detector(name).update_many(values)
    holes: list[Any] = []
    places = []
    for index, value in enumerate(values):
        if index % 7 == 3:
            holes.append((None, math.nan, math.inf, -math.inf)[index % 4])
        places.append(len(holes))
        holes.append(value)
    assert drift.detector(name).update_many(holes) == [places[index] for index in expected]
    assert one_by_one(drift.detector(name), holes) == [places[index] for index in expected]
    ended = drift.detector(name)
    ended.update_many([*values[: expected[0] + 1], None])
    assert not ended.drift_detected


@every
def test_bad_input_is_one_sentence_and_odd_streams_are_quiet(name: str) -> None:
    for bad in (["a"], np.ones((2, 2)), [0.0, "1"], 1.0, {"a": 1.0}):
        with pytest.raises(DataError, match=name):
            drift.detector(name).update_many(bad)
    with pytest.raises(DataError, match=name):
        drift.detector(name).update("1")
    for quiet in ([], [None] * 50, [math.nan], [1.0], [0.0] * 5000, np.ones(300, dtype=bool)):
        detector = drift.detector(name)
        assert detector.update_many(quiet) == []
        assert not detector.drift_detected
    with pytest.raises(UnknownNameError, match="it takes"):
        drift.detector(name, nonsense=1)


@every
def test_masked_values_are_missing(name: str) -> None:
    values = np.asarray(stream_for(name), dtype=float)
    masked = np.ma.array(values, mask=np.arange(len(values)) % 5 == 0)
    listed = [None if index % 5 == 0 else value for index, value in enumerate(values.tolist())]
    many, one, wanted = drift.detector(name), drift.detector(name), drift.detector(name)
    assert many.update_many(masked) == wanted.update_many(listed)
    assert one_by_one(one, list(masked)) == one_by_one(drift.detector(name), listed)


@pytest.mark.parametrize("bad", ["x", None, 0, math.nan, [5]])
def test_the_e_detector_needs_a_number_as_its_run_length(bad: Any) -> None:
    with pytest.raises(DataError, match="average_run_length must be at least 1"):
        drift.detector("e_detector", reference=[float(i % 7) for i in range(100)], average_run_length=bad)


def test_the_e_detector_takes_a_reference_from_one_end_of_the_floats_to_the_other() -> None:
    detector = drift.detector("e_detector", reference=[1e308, -1e308] * 100)
    assert detector.update_many([1e308, -1e308] * 100) == []


@pytest.mark.parametrize("bad", [5, "abc", {"a": 1.0}, np.ones((60, 2)), [[1.0]] * 60, [], [None] * 60])
def test_the_e_detector_says_in_one_sentence_what_it_cannot_use(bad: Any) -> None:
    with pytest.raises(DataError, match="e_detector"):
        drift.detector("e_detector", reference=bad)
    detector = drift.detector("e_detector", reference=(i * i % 101 for i in range(400)))
    if isinstance(bad, list) and bad[:1] in ([], [None]):
        assert detector.update_many(bad[:5]) == []  # more of them in a row are a change
    else:
        with pytest.raises(DataError, match="e_detector"):
            detector.update_many(bad)


@pytest.mark.parametrize("far", [0.5, 30.0, 1e3, 1e5])
def test_the_spread_after_a_change_is_known_however_far_it_goes(far: float) -> None:
    rng = np.random.default_rng(4)
    detector = drift.detector("e_detector", reference=rng.normal(20, 1, size=1000))
    detector.update_many(np.concatenate((rng.normal(20, 1, size=2000), rng.normal(20 + far, 2, size=1000))))
    change = detector._judge.recent(0, 2999)
    assert change.after["mean"] == pytest.approx(20 + far, abs=0.5)
    assert change.after["sd"] == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("rows", [7000, 12_345, 20_000])
def test_what_the_e_detector_finds_and_keeps_depends_on_no_length_of_calls(rows: int) -> None:
    rng = np.random.default_rng(7)
    reference, values = rng.normal(size=1000), rng.normal(size=rows)
    values[500:600] += 1.0
    found: list[tuple[list[int], dict[str, Any]]] = []
    for size in (rows, 40):
        detector, fired = drift.detector("e_detector", reference=reference), []
        for begin in range(0, rows, size):
            fired += [begin + index for index in detector.update_many(values[begin : begin + size])]
        found.append((fired, detector._judge.arrays))
    (at_once, kept), (in_parts, also) = found
    assert len(at_once) == 1
    assert at_once == in_parts
    for name, array in kept.items():
        np.testing.assert_array_equal(array, also[name], err_msg=name)


@pytest.mark.parametrize("name", [name for name in DETECTORS if name not in OF_ERRORS])
def test_huge_numbers_are_taken_without_a_warning(name: str) -> None:
    for scale in (2.0**60, 1e-300, 1e150, 1.3e307):
        values = [scale * (i % 13) * (-1) ** i for i in range(1000)]
        many, one = drift.detector(name), drift.detector(name)
        assert many.update_many(values) == one_by_one(one, values)
    drift.detector(name).update_many([10**400, 2**70, 2**53 + 1] * 50)


@pytest.mark.parametrize("name", OF_ERRORS)
def test_what_is_no_error_is_refused(name: str) -> None:
    for bad in ([0, 2], [-1.0]):
        with pytest.raises(DataError, match="1 for an error"):
            drift.detector(name).update_many(bad)
    found = [drift.detector(name).update_many(kind(stream_for(name))) for kind in KINDS]
    assert found[0] == found[1] == found[2]


KINDS: list[Callable[[list[float]], Any]] = [
    list,
    lambda values: [bool(value) for value in values],
    lambda values: np.array(values, dtype=np.int8),
]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("adwin", {"delta": 0}),
        ("adwin", {"clock": 0}),
        ("adwin", {"max_buckets": 1}),
        ("kswin", {"alpha": 1.5}),
        ("kswin", {"window_size": 30}),
        ("page_hinkley", {"threshold": -1}),
        ("page_hinkley", {"alpha": 2}),
        ("page_hinkley", {"mode": "sideways"}),
        ("cusum", {"mean": 1.0}),
        ("cusum", {"mean": 1.0, "sd": 0.0}),
        ("ewma", {"alpha": 0}),
        ("ewma", {"alpha": 1.1}),
        ("ewma", {"sd": 1.0}),
        ("ddm", {"drift_threshold": math.nan}),
        ("eddm", {"alpha": 0.8, "beta": 0.9}),
        ("hddm_a", {"drift_confidence": 0}),
        ("hddm_w", {"lambda_val": 1.0}),
    ],
)
def test_odd_parameters_are_refused(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=name):
        drift.detector(name, **parameters)


def test_warnings_come_before_the_alarm() -> None:
    for name in ("ddm", "hddm_a", "hddm_w", "ewma"):
        detector, warned = drift.detector(name, **CAREFUL.get(name, {})), None
        chance = random.Random(5)
        for index in range(3000):
            value = chance.random() < (0.1 if index < 2000 else 0.25) if name != "ewma" else None
            detector.update(chance.gauss(0.5 * (index >= 2000), 1.0) if value is None else value)
            assert not (detector.warning_detected and detector.drift_detected)
            if index >= 2000 and detector.warning_detected and warned is None:
                warned = index
            if index >= 2000 and detector.drift_detected:
                assert warned is not None
                assert warned < index
                break


def test_page_hinkley_looks_to_the_side_it_is_told() -> None:
    up = [0.0] * 200 + [2.0] * 200
    down = [-x for x in up]
    for mode, rises, falls in (("both", True, True), ("up", True, False), ("down", False, True)):
        assert bool(drift.detector("page_hinkley", mode=mode).update_many(up)) is rises
        assert bool(drift.detector("page_hinkley", mode=mode).update_many(down)) is falls


def test_run_lengths_of_charts_are_the_published_ones() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=200_000)
    cusum = len(drift.detector("cusum", mean=0.0, sd=1.0, slack=0.5, threshold=5.0).update_many(values))
    ewma = len(drift.detector("ewma", mean=0.0, sd=1.0, alpha=0.1, threshold=2.814).update_many(values))
    assert len(values) / cusum == pytest.approx(465, rel=0.2)
    assert len(values) / ewma == pytest.approx(500, rel=0.25)  # Lucas and Saccucci, for limits that stay


def test_kswin_knows_more_than_a_random_sample_of_its_window() -> None:
    rng = np.random.default_rng(4)
    tests = 50_000
    fired = drift.detector("kswin", alpha=0.005).update_many(rng.normal(size=tests))
    assert len(fired) < 20
    tied = drift.detector("kswin", alpha=0.005).update_many(rng.integers(0, 3, size=tests))
    assert len(tied) < 20


@given(
    shift=st.sampled_from([-1e6, -7.0, 0.5, 1e4]),
    scale=st.sampled_from([0.125, 2.0, 1024.0]),
    seed=st.integers(0, 50),
)
@settings(max_examples=25, deadline=None)
def test_scale_and_origin_of_the_data_do_not_matter(shift: float, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate((rng.normal(size=300), rng.normal(2, 1, size=200))).round(3)
    for name in ("adwin", "kswin", "cusum", "ewma"):
        found = drift.detector(name).update_many(values)
        if name != "adwin":  # its bound is for values with a range of about 1
            assert drift.detector(name).update_many(values * scale) == found
        assert drift.detector(name).update_many(values + shift) == found


@given(errors=st.lists(st.booleans(), min_size=1, max_size=400), split=st.integers(0, 400))
@settings(max_examples=40, deadline=None)
def test_where_a_stream_of_errors_is_split_does_not_matter(errors: list[bool], split: int) -> None:
    for name in OF_ERRORS:
        whole, parts = drift.detector(name), drift.detector(name)
        expected = whole.update_many(errors)
        found = parts.update_many(errors[:split])
        found += [min(split, len(errors)) + index for index in parts.update_many(errors[split:])]
        assert found == expected
        assert parts.state() == whole.state()


def test_adwin_sees_small_changes_of_large_numbers() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate((rng.normal(size=600), rng.normal(1, 1, size=400))).round(3)
    expected = drift.detector("adwin").update_many(values)
    assert expected
    assert drift.detector("adwin").update_many(values + 2.0**33) == expected


def test_the_first_value_of_an_ewma_is_judged_by_its_own_spread() -> None:
    for first, fired in ((3.6, [0]), (3.4, []), (-3.6, [0])):
        assert drift.detector("ewma", mean=0.0, sd=1.0, threshold=3.5).update_many([first]) == fired
