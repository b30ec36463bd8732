"""What a feature is: the same names and values from fresh data and from what was stored of it."""

from __future__ import annotations

import decimal
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_mlops_monitor.capture.recorder import Recorder
from edge_mlops_monitor.capture.snapshot import Snapshot
from edge_mlops_monitor.features import columns, features, summary
from edge_mlops_monitor.records import Prediction
from edge_mlops_monitor.store import Store


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"box": {"size": [3, 4], "label": "a"}}, {"box.size[0]": 3.0, "box.size[1]": 4.0, "box.label": "a"}),
        (0.5, {"value": 0.5}),
        ("cat", {"value": "cat"}),
        (True, {"value": 1.0}),
        ([1, 2], {"value[0]": 1.0, "value[1]": 2.0}),
        ([[1], [2]], {"value[0][0]": 1.0, "value[1][0]": 2.0}),
        ({"a": None, "b": math.nan, "c": math.inf, "d": 10**400}, dict.fromkeys("abcd")),
        ({"a": b"bytes", "b": object()}, {}),
        ({1: 2.0, None: 3.0}, {"1": 2.0, "None": 3.0}),
        ({"a": np.float32(1.5), "b": np.int64(2), "c": np.bool_(True)}, {"a": 1.5, "b": 2.0, "c": 1.0}),
        ({"a": np.array([1.0, 2.0])}, {"a[0]": 1.0, "a[1]": 2.0}),
        ({"a": decimal.Decimal("1.5")}, {"a": 1.5}),
        ({"a": "x" * 300}, {"a": "x" * 256}),
        (None, {}),
        ([], {}),
        ({}, {}),
    ],
)
def test_names_and_values(inputs: Any, expected: dict[str, Any]) -> None:
    assert features(inputs, None) == {f"inputs.{name}": value for name, value in expected.items()}
    assert features(None, inputs) == {f"outputs.{name}": value for name, value in expected.items()}


def test_up_to_64_elements_are_named_and_more_are_summarised() -> None:
    assert len(features(list(range(64)), None)) == 64
    names = ("mean", "sd", "min", "max", "zeros", "nonfinite")
    assert list(features(list(range(65)), None)) == [f"inputs.value.{name}" for name in names]
    assert list(features({"a": np.zeros((9, 9))}, None)) == [f"inputs.a.{name}" for name in names]
    assert features(["a"] * 65, None) == {}


def test_a_summary_has_the_moments_of_the_finite_values() -> None:
    values = [1.0, 2.0, 3.0, 0.0, math.nan, math.inf]
    finite = np.array([1.0, 2.0, 3.0, 0.0])
    found = summary(values)
    assert {name: found[name] for name in ("mean", "sd", "min", "max", "zeros", "nonfinite")} == {
        "mean": finite.mean(),
        "sd": pytest.approx(finite.std()),
        "min": 0.0,
        "max": 3.0,
        "zeros": pytest.approx(1 / 6),
        "nonfinite": pytest.approx(2 / 6),
    }


numbers = st.one_of(st.integers(), st.floats(), st.booleans(), st.none())
leaves = st.one_of(
    numbers,
    st.text(),
    st.text(min_size=250, max_size=300),
    st.binary(),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**6), max_value=10**6),
    st.lists(st.floats(), min_size=60, max_size=70),
    st.floats(width=32).map(np.float32),
    st.integers(-(2**31), 2**31 - 1).map(np.int64),
    arrays.arrays(np.float64, arrays.array_shapes(max_side=10), elements=st.floats(-1e6, 1e6)),
    arrays.arrays(np.uint8, arrays.array_shapes(max_side=12)),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(st.text(), inner, max_size=4), st.lists(inner, max_size=4), st.tuples(inner, inner)
    ),
    max_leaves=12,
)


def approximately(found: dict[str, Any]) -> dict[str, Any]:
    """Moments of large arrays are sums in another order."""
    return {
        name: pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
        for name, value in found.items()
    }


@given(values, values)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_features_of_fresh_values_are_those_of_what_is_stored(inputs: Any, outputs: Any) -> None:
    snapshot = Snapshot()
    recorder = Recorder(lambda: pytest.fail("not opened"))
    encoded = [recorder.encode_value(value) for value in (inputs, outputs)]
    assert snapshot is not None
    stored = [msgspec.msgpack.decode(value) for value in encoded]
    assert features(*stored) == approximately(features(inputs, outputs))


@given(values)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_also_where_something_beside_them_cannot_be_stored_as_it_is(value: Any) -> None:
    recorder = Recorder(lambda: pytest.fail("not opened"))
    fresh = {"a": value, "b": 2**70}
    stored = msgspec.msgpack.decode(recorder.encode_value(fresh))
    assert features(stored, None) == approximately(features(fresh, None))


@given(st.lists(st.tuples(values, values), max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_columns_are_the_features_of_each_row(rows: list[tuple[Any, Any]]) -> None:
    found = columns([Prediction(inputs=inputs, outputs=outputs) for inputs, outputs in rows])
    each = [features(inputs, outputs) for inputs, outputs in rows]
    assert set(found) == {name for row in each for name in row}
    for name, column in found.items():
        assert column == [row.get(name) for row in each]


def test_large_values_have_the_features_of_small_ones_through_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.db")
    recorder = Recorder(lambda: store)
    for count in (100, 100_000):
        fresh = {"list": [float(i % 10) for i in range(count)], "array": np.arange(count) % 10.0, "x": 1.5}
        recorder.log_prediction(fresh, None)
        assert recorder.write()
        stored = next(store.newest("predictions", limit=1))
        assert isinstance(stored, Prediction)
        assert features(stored.inputs, None) == approximately(features(fresh, None))
