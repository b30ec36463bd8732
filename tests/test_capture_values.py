"""Whatever a program logs: nothing raises, nothing is changed, no reference is kept, all is accounted for."""

from __future__ import annotations

import dataclasses
import decimal
import enum
import fractions
import gc
import json
import math
import sys
import time
import uuid
import weakref
from collections import OrderedDict, UserDict, defaultdict, deque
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.capture.recorder import Recorder
from edge_mlops_monitor.records import Prediction
from edge_mlops_monitor.store import Store
from edge_mlops_monitor.telemetry.encoding import lines


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[EdgeMonitor]:
    monitor = EdgeMonitor(config={"storage": {"sqlite_path": str(tmp_path / "m.db")}})
    yield monitor
    monitor.stop()


def only(monitor: EdgeMonitor) -> Prediction:
    assert monitor.flush()
    (prediction,) = monitor.predictions()
    return prediction


class Fails:
    """An object of which nothing can be asked."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __hash__ = __bool__ = __len__ = __iter__ = __float__ = __repr__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no attributes")


def nameless() -> Any:
    """An object whose type does not even say where it is from."""

    class FailingType(type):
        @property
        def __module__(cls) -> str:  # type: ignore[override]
            raise RuntimeError("no module")

    class Nameless(metaclass=FailingType):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    return Nameless()


class Endless(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        while True:
            yield 1


class Tensor:
    """Looks like a torch tensor."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, "torch.float32"

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> Any:
        return self._array


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float


def cycle() -> list[Any]:
    inner: dict[str, Any] = {}
    inner["again"] = [inner]
    return [inner]


def deep() -> Any:
    value: Any = 1
    for _ in range(5000):
        value = [value]
    return value


ODD: dict[str, Any] = {
    "nan": math.nan,
    "infinity": -math.inf,
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"abc"),
    "memoryview": memoryview(b"abc"),
    "huge integer": 10**400,
    "large integer": -(2**70),
    "integer beyond the digits that print": 10**5000,
    "complex": 1 + 2j,
    "lone surrogate": "a\ud800b",
    "surrogate as name": {"\udfff": 1},
    "null character": "a\0b",
    "decimal": decimal.Decimal("1.5"),
    "fraction": fractions.Fraction(1, 3),
    "datetime": datetime(2026, 1, 1, tzinfo=timezone.utc),
    "naive datetime": datetime(2026, 1, 1),
    "year 1": datetime(1, 1, 1, tzinfo=timezone.utc),
    "date": date(2026, 1, 1),
    "timedelta": timedelta(seconds=1),
    "uuid": uuid.UUID(int=5),
    "enum": Colour.RED,
    "range": range(3),
    "set": {1, 2},
    "frozenset": frozenset({1}),
    "tuple": (1, "a"),
    "deque": deque([1, 2]),
    "ordered": OrderedDict(a=1),
    "defaultdict": defaultdict(int, a=1),
    "userdict": UserDict(a=1),
    "proxy": MappingProxyType({"a": 1}),
    "none as name": {None: 1},
    "bool as name": {True: 1},
    "float as name": {1.5: 1, math.nan: 2},
    "tuple as name": {(1, 2): 3},
    "bytes as name": {b"a": 1},
    "frozenset as name": {frozenset([1]): 1},
    "dataclass as name": {Point(1, 2): 1},
    "object as name": {object(): 1},
    "dataclass": Point(1.0, 2.0),
    "object": object(),
    "class": int,
    "function": len,
    "module": sys,
    "exception": ValueError("secret"),
    "generator": (i for i in range(3)),
    "file": sys.stdout,
    "fails": Fails(),
    "fails inside": {"a": [Fails(), 1.0]},
    "nameless": nameless(),
    "cycle": cycle(),
    "deep": deep(),
    "endless": Endless([1]),
    "numpy float": np.float64(1.5),
    "numpy small float": np.float16(1.5),
    "numpy long float": np.longdouble(1.5),
    "numpy integer": np.int64(7),
    "numpy bool": np.bool_(True),
    "numpy text": np.str_("a"),
    "numpy bytes": np.bytes_(b"a"),
    "numpy time": np.datetime64("2026-01-01T00:00:00.000000001"),
    "numpy not a time": np.datetime64("NaT", "s"),
    "numpy scalar array": np.array(1.5),
    "numpy empty": np.array([]),
    "numpy vector": np.arange(5.0),
    "numpy matrix": np.ones((3, 3)),
    "numpy image": np.zeros((40, 40, 3), dtype=np.uint8),
    "numpy nonfinite": np.full(100, np.nan),
    "numpy complex": np.ones(100, dtype=complex),
    "numpy few complex": np.ones(2, dtype=complex),
    "numpy objects": np.array([object(), {}], dtype=object),
    "numpy many objects": np.array([object()] * 100, dtype=object),
    "numpy records": np.zeros(3, dtype=[("a", "f4"), ("b", "i4")]),
    "numpy texts": np.array(["a", "b"]),
    "numpy times": np.array(["2026-01-01"], dtype="datetime64[ns]"),
    "numpy long floats": np.ones(3, dtype=np.longdouble),
    "numpy big-endian": np.ones(100, dtype=">f4"),
    "numpy masked": np.ma.masked_array([1.0, 2.0], mask=[True, False]),
    "numpy matrix type": np.asarray([[1.0, 2.0]]),
    "tensor": Tensor(np.ones((2, 2))),
    "large tensor": Tensor(np.ones((200, 2))),
    "long list": list(range(100_000)),
    "long list of texts": ["x" * 50] * 20_000,
    "long text": "x" * 3_000_000,
    "long bytes": b"x" * 3_000_000,
    "wide": {f"f{i}": float(i) for i in range(50_000)},
}


@pytest.mark.parametrize("name", ODD)
def test_any_value_is_recorded_or_counted_and_leaves_as_strict_json(monitor: EdgeMonitor, name: str) -> None:
    value = ODD[name]
    ids = [
        monitor.log_prediction(value, {"y": 1.0}),
        monitor.log_prediction({"x": value, "z": 2.0}, value),
        monitor.log_prediction({"x": 1.0}, 1.0, tags={"t": value}),
        monitor.log_prediction(
            1.0,
            1.0,
            model=value,
            model_version=value,
            source=value,
            latency_seconds=value,
            timestamp=value,
            tags=value,
        ),
        monitor.log_model_input(value),
    ]
    monitor.log_model_output(ids[-1], value)
    given_id = monitor.log_prediction({"x": 1.0}, 1.0, prediction_id=value)
    monitor.log_model_output(value, 1.0)
    monitor.log_actual(ids[0], value)
    monitor.log_actual(value, value, timestamp=value)
    monitor.log_predictions(value, value)
    monitor.log_predictions([1.0], [1.0], prediction_ids=value, timestamp=value, latency_seconds=value)
    with monitor.watch(model=value, tags={"t": value}) as call:
        call.inputs = call.outputs = value
    assert monitor.flush()
    stored = list(monitor.predictions())
    for line in (lines(stored) + lines(list(monitor.actuals()))).splitlines():
        json.loads(line, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    if value is not None:
        assert isinstance(given_id, str)
    assert {prediction.id for prediction in stored}.issuperset(ids)
    assert not any("secret" in repr((one.inputs, one.outputs, one.model, one.tags)) for one in stored)


def test_a_bad_value_never_costs_the_records_beside_it(monitor: EdgeMonitor) -> None:
    for value in ODD.values():
        monitor.log_prediction({"x": 1.0}, {"y": 1})
        monitor.log_prediction({"x": value}, {"y": 2})
    assert monitor.flush()
    good = [one for one in monitor.predictions() if one.outputs == {"y": 1}]
    assert [one.inputs for one in good] == [{"x": 1.0}] * len(ODD)
    assert sum(1 for _ in monitor.predictions()) == 2 * len(ODD)


def test_what_had_to_be_simplified_is_counted(monitor: EdgeMonitor) -> None:
    monitor.log_prediction({"s": "\ud800", "good": 1.5}, None)
    monitor.log_prediction({"s": 10**400, "good": 2.5}, None)
    assert monitor.flush()
    assert monitor.get_status()["dropped"] == {"simplified": 2}
    assert [one.inputs["good"] for one in monitor.predictions()] == [2.5, 1.5]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(categories=None)),
    st.binary(),
    st.complex_numbers(),
    st.decimals(),
    st.datetimes(timezones=st.none() | st.just(timezone.utc)),
    # By name, since Hypothesis asks values for their text, and the largest has none.
    st.sampled_from([name for name in ODD if "digits" not in name]).map(lambda name: ODD[name]),
)
names = st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.binary(), st.tuples(st.integers()))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(names, inner), st.tuples(inner, inner)),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    store = Store(tmp_path_factory.mktemp("h") / "m.db")
    return Recorder(lambda: store)


@given(inputs=values, outputs=values, details=st.tuples(values, values, values, values))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_combination_of_values_raises_or_stops_the_writer(
    recorder: Recorder, inputs: Any, outputs: Any, details: tuple[Any, ...]
) -> None:
    model, source, tags, timestamp = details
    id = recorder.log_prediction(
        inputs, outputs, model=model, source=source, tags=tags, timestamp=timestamp, latency_seconds=model
    )
    assert recorder.write()
    store = recorder._open_store()
    newest = next(store.newest("predictions", limit=1))
    assert isinstance(newest, Prediction)
    assert newest.id == id
    json.loads(lines([newest]), parse_constant=pytest.fail)


@given(value=values)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_value_is_changed(recorder: Recorder, value: Any) -> None:
    try:
        before = repr(value)
    except Exception:
        return  # cannot be compared
    recorder.log_prediction(value, value, tags=value)
    recorder.log_predictions(value, value)
    recorder.encode_value(value)
    assert repr(value) == before


def test_what_the_caller_changes_afterwards_does_not_matter(monitor: EdgeMonitor) -> None:
    array, rows, named = np.arange(100.0), [1.0, 2.0], {"a": {"b": 1}}
    tags = {"t": [1]}
    monitor.log_prediction({"array": array, "rows": rows}, named, tags=tags)
    watch = monitor.watch(tags=tags)
    array[:] = 0
    rows.append(3.0)
    named["a"]["b"] = 2
    tags["t"].append(2)
    one = only(monitor)
    assert one.inputs["array"]["mean"] == 49.5
    assert (one.inputs["rows"], one.outputs, one.tags) == ([1.0, 2.0], {"a": {"b": 1}}, {"t": [1]})
    with watch:
        pass
    assert monitor.flush()
    assert next(monitor.predictions()).tags == {"t": [1]}


def test_no_reference_is_kept(monitor: EdgeMonitor) -> None:
    class Thing:
        pass

    thing, array = Thing(), np.ones(1000)
    left = [weakref.ref(thing), weakref.ref(array)]
    monitor.log_prediction({"thing": thing, "array": array}, {"again": thing})
    monitor.log_predictions({"a": array}, array)
    monitor.log_model_input(array)
    monitor.log_actual("p", array)
    with monitor.watch(tags={"t": thing}) as call:
        call.inputs, call.outputs = thing, array
    del thing, array, call
    gc.collect()
    assert [reference() for reference in left] == [None, None]


def test_a_tensor_of_100_megabytes_costs_about_what_a_small_one_does(monitor: EdgeMonitor) -> None:
    large, small = np.zeros((25_000, 1000), dtype=np.float32), np.zeros((70, 1000), dtype=np.float32)
    shapes = [(large, small), (large.T, small.T), (large[:, ::2], small[:, ::2])]

    def fastest(array: Any) -> float:
        times = []
        for _ in range(5):
            began = time.thread_time()  # what others do on this machine does not count
            monitor.log_prediction({"x": array}, None)
            times.append(time.thread_time() - began)
        return min(times)

    for of_large, of_small in shapes:
        fastest(of_small)
        assert fastest(of_large) < 20 * fastest(of_small)


def test_an_object_is_recorded_by_its_type_since_its_text_may_hold_anything(monitor: EdgeMonitor) -> None:
    class Patient:
        def __repr__(self) -> str:
            return "secret"

    monitor.log_prediction({"who": Patient()}, Patient())
    one = only(monitor)
    assert "Patient" in one.inputs["who"]
    assert "secret" not in repr(one)


def test_raw_capture_keeps_arrays_up_to_its_limit(tmp_path: Path) -> None:
    config = {
        "storage": {"sqlite_path": str(tmp_path / "m.db")},
        "model_logging": {"raw_capture_bytes": 1_000_000},
    }
    with EdgeMonitor(config=config) as monitor:
        image = np.arange(100_000, dtype=np.float32).reshape(100, 1000)
        monitor.log_prediction({"fits": image, "does_not": np.zeros(300_000)}, [1.0] * 5)
        one = only(monitor)
    back = np.frombuffer(one.inputs["fits"]["data"], dtype=one.inputs["fits"]["dtype"])
    assert (back.reshape(one.inputs["fits"]["shape"]) == image).all()
    assert "data" not in one.inputs["does_not"]
    assert one.inputs["does_not"]["shape"] == [300_000]


def test_raw_capture_bounds_everything_else_as_before(tmp_path: Path) -> None:
    config = {
        "storage": {"sqlite_path": str(tmp_path / "m.db"), "max_sqlite_size_mb": 2},
        "model_logging": {"raw_capture_bytes": 10_000_000},
    }
    with EdgeMonitor(config=config) as monitor:
        monitor.log_prediction({"text": "x" * 20_000_000, "many": list(range(500_000))}, b"x" * 20_000_000)
        monitor.log_prediction({"array": np.zeros(1_000_000)}, None, prediction_id="larger than the store")
        monitor.log_prediction({"a": 1.0}, None, prediction_id="small")
        assert monitor.flush()
        ids = [one.id for one in monitor.predictions()]
        assert ids[0] == "small", "a record that cannot be stored does not stop those behind it"
        assert len(ids) == 3 or monitor.get_status()["dropped"]
