"""What every sink, every collector and every drift method promises, checked on each that is registered.

A part is found through its registry, so one that is added is checked without a word here; only a sink that
needs to be told where to send to has a line in `SINK_KEYWORDS`.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest

import edge_mlops_monitor.drift.comparisons
import edge_mlops_monitor.drift.detectors
import edge_mlops_monitor.drift.multivariate
import edge_mlops_monitor.system
import edge_mlops_monitor.telemetry.sinks
from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.drift import METHODS, compare, detector, parameters
from edge_mlops_monitor.drift.tables import TableComparison
from edge_mlops_monitor.errors import DataError, MissingExtraError, UnknownNameError
from edge_mlops_monitor.records import DriftResult
from edge_mlops_monitor.registry import Registry
from edge_mlops_monitor.system import COLLECTORS, Collector, SystemSampler
from edge_mlops_monitor.telemetry.sinks import SINKS
from edge_mlops_monitor.telemetry.sinks.sink import Accepted, Conflict, Never, Sink, TryAgain

KEY = "v1/kind=events/dt=2026-01-01/pi-7-00001.aa-000000000001-000000000002.jsonl.gz"
SECRET = "kept-to-itself"


def part(registry: Registry, name: str) -> Any:
    """The class of a name; the test is skipped where its extra is not installed."""
    try:
        return registry[name]
    except MissingExtraError as missing:
        pytest.skip(str(missing))


# - all of them -

REGISTRIES = {"sinks": (SINKS, 3), "collectors": (COLLECTORS, 10), "drift methods": (METHODS, 2)}
PARTS = [(registry, name) for registry, _ in REGISTRIES.values() for name in registry]
FOLDERS: dict[ModuleType, tuple[Registry, Callable[[Any], bool]]] = {
    edge_mlops_monitor.telemetry.sinks: (SINKS, lambda cls: hasattr(cls, "put") and hasattr(cls, "check")),
    edge_mlops_monitor.system: (COLLECTORS, lambda cls: hasattr(cls, "collect")),
    edge_mlops_monitor.drift.comparisons: (METHODS, lambda cls: hasattr(cls, "compare")),
    edge_mlops_monitor.drift.multivariate: (METHODS, lambda cls: hasattr(cls, "compare")),
    edge_mlops_monitor.drift.detectors: (METHODS, lambda cls: hasattr(cls, "update")),
}
PROTOCOLS = {Sink, Collector}


def test_the_parts_were_found() -> None:
    for noun, (registry, least) in REGISTRIES.items():
        assert len(registry) >= least, f"of {noun}"
    assert len(PARTS) == sum(len(registry) for registry, _ in REGISTRIES.values())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.__name__.rpartition(".")[2])
def test_no_part_is_forgotten_in_its_registry(folder: ModuleType) -> None:
    registry, is_part = FOLDERS[folder]
    registered = {registry[name] for name in registry if registry.extra(name) is None}
    forgotten = []
    for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
        try:
            found = importlib.import_module(module.name)
        except ImportError:  # its extra is not installed
            continue
        own = [cls for cls in vars(found).values() if inspect.isclass(cls) and cls.__module__ == module.name]
        parts = {cls for cls in own if is_part(cls)} - PROTOCOLS
        extra = {registry[name] for name in registry if registry.extra(name)} if parts - registered else set()
        forgotten += [cls.__name__ for cls in parts - registered - extra if not cls.__name__.startswith("_")]
    assert forgotten == [], "give it a line in the registry"


@pytest.mark.parametrize(("registry", "name"), PARTS, ids=[name for _, name in PARTS])
def test_a_part_says_what_it_is_and_what_it_takes(registry: Registry, name: str) -> None:
    cls = part(registry, name)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert cls.__doc__
    assert cls.__doc__.strip()
    for parameter in inspect.signature(cls).parameters.values():
        assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD), parameter
        assert parameter.annotation is not parameter.empty, parameter


@pytest.mark.parametrize(("registry", "name"), PARTS, ids=[name for _, name in PARTS])
def test_a_part_shares_no_default_that_can_be_changed(registry: Registry, name: str) -> None:
    defaults = [one.default for one in inspect.signature(part(registry, name)).parameters.values()]
    assert [default for default in defaults if isinstance(default, (list, dict, set))] == []


# - sinks -


@pytest.fixture(scope="module")
def bucket_url() -> Iterator[str]:
    from faulty_http_server import FaultyServer

    with FaultyServer() as server:
        yield server.url


# How a sink is told where to send to; {folder} is empty, {url} a store on loopback.
SINK_KEYWORDS: dict[str, dict[str, str]] = {
    "file": {"path": "{folder}"},
    "s3": {
        "bucket": "bucket",
        "endpoint_url": "{url}",
        "access_key_id": "a",
        "secret_access_key": SECRET,
    },
}


def keywords(name: str, folder: Path, url: str) -> dict[str, str]:
    given = SINK_KEYWORDS.get(name, {})
    return {key: value.format(folder=folder, url=url) for key, value in given.items()}


@pytest.fixture(params=list(SINKS))
def sink(request: pytest.FixtureRequest, tmp_path: Path, bucket_url: str) -> Iterator[Sink]:
    made: Sink = part(SINKS, request.param)(
        prefix=f"{tmp_path.name}/", **keywords(request.param, tmp_path / "sink", bucket_url)
    )
    yield made
    made.close()


def test_a_sink_accepts_an_object_once_and_knows_it_the_second_time(sink: Sink) -> None:
    assert sink.put(KEY, b"content", "application/gzip") == Accepted()
    assert sink.put(KEY, b"content", "application/gzip") == Accepted(existed=True)


def test_a_sink_never_puts_another_content_over_an_object(sink: Sink) -> None:
    sink.put(KEY, b"content", "application/gzip")
    answer = sink.put(KEY, b"something", "application/gzip")
    assert isinstance(answer, Conflict)
    assert answer.reason
    assert sink.put(KEY, b"content", "application/gzip") == Accepted(existed=True)


@pytest.mark.parametrize("body", [b"", os.urandom(3 << 20)], ids=["empty", "large"])
def test_a_sink_takes_objects_of_any_size(sink: Sink, body: bytes) -> None:
    assert sink.put(KEY, body, "application/gzip") == Accepted()
    assert isinstance(sink.put(KEY, body + b"x", "application/gzip"), Conflict)


def test_a_sink_keeps_objects_apart(sink: Sink) -> None:
    other = KEY.replace("pi-7", "pi-8")
    assert sink.put(KEY, b"one", "application/gzip") == Accepted()
    assert sink.put(other, b"two", "application/gzip") == Accepted()
    assert sink.put(KEY, b"one", "application/gzip") == Accepted(existed=True)


def test_a_sink_answers_odd_keys_and_does_not_raise(sink: Sink) -> None:
    for key in ("", "/", "../../out", "v1/ä ö.gz", "v1/" + "k" * 300, "v1/nul\0.gz"):
        assert isinstance(sink.put(key, b"content", "application/gzip"), (Accepted, TryAgain, Never)), key


def test_a_sink_in_order_has_no_findings_and_leaves_nothing_behind(sink: Sink) -> None:
    assert sink.check() == []
    assert sink.put(KEY, b"content", "application/gzip") == Accepted()
    sink.close()
    sink.close()


def test_a_sink_does_not_show_its_secrets(sink: Sink) -> None:
    assert SECRET not in repr(sink)


@pytest.mark.parametrize("name", SINKS)
def test_a_monitor_delivers_to_a_sink(name: str, tmp_path: Path, bucket_url: str) -> None:
    part(SINKS, name)
    options = {"type": name, "prefix": f"{tmp_path.name}/", **keywords(name, tmp_path / "sink", bucket_url)}
    storage = {"sqlite_path": str(tmp_path / "monitor.db")}
    monitor = EdgeMonitor(config={"storage": storage, "sinks": {"there": options}})
    monitor.log_prediction({"a": 1.0}, 0.5)
    assert monitor.flush()
    sent = monitor.upload_now(timeout=30)
    assert (sent["errors"], sent["pending"]) == ({}, 0) or (sent["errors"], sent["pending"]) == ([], 0)
    assert sent["records"] >= 1
    monitor.stop()


# - collectors -


@pytest.fixture(params=list(COLLECTORS))
def collector(request: pytest.FixtureRequest) -> str:
    if request.param == "portable":
        pytest.importorskip("psutil", reason="psutil is only installed where there is no /proc")
    return str(request.param)


def test_a_collector_declares_its_instruments_as_opentelemetry_does(collector: str) -> None:
    instruments = part(COLLECTORS, collector).instruments
    assert instruments
    for name, instrument in instruments.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+", name)
        assert instrument.kind in ("gauge", "counter", "updowncounter")
        assert instrument.unit
        assert instrument.description
        assert not instrument.description.endswith(".")


def test_a_collector_emits_what_it_declares(collector: str) -> None:
    if not Path("/proc/stat").exists() and collector != "portable":
        pytest.skip("there is no /proc here")
    made = part(COLLECTORS, collector)()
    for metric in [*made.collect(100.0), *made.collect(110.0)]:
        instrument = made.instruments[metric.name]
        assert metric.unit == instrument.unit
        assert metric.ts == 0, "the time is the sampler's to give"
        assert set(metric.attributes) <= set(instrument.attributes)
        assert all(isinstance(value, str) for value in metric.attributes.values())
        assert math.isfinite(metric.value)
        assert metric.unit != "1" or 0 <= metric.value <= 1
        assert instrument.kind == "gauge" or metric.value >= 0


def test_a_collector_gives_each_series_once(collector: str) -> None:
    found = SystemSampler([collector]).sample()
    series = [(metric.name, *sorted(metric.attributes.items())) for metric in found]
    assert len(series) == len(set(series))


def test_a_collector_has_nothing_to_say_of_a_machine_that_has_nothing(collector: str, tmp_path: Path) -> None:
    if collector == "portable":
        pytest.skip("asks the kernel through psutil, not a tree")
    sampler = SystemSampler([collector], proc=tmp_path, sys=tmp_path)
    assert sampler.sample() == []


def test_a_collector_in_trouble_is_counted_and_does_not_raise(collector: str, tmp_path: Path) -> None:
    if collector == "portable":
        pytest.skip("asks the kernel through psutil, not a tree")
    rng = np.random.default_rng(0)
    for path in (
        "stat",
        "meminfo",
        "loadavg",
        "uptime",
        "diskstats",
        "net/dev",
        "self/stat",
        "self/mountinfo",
    ):
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(rng.bytes(4096))
    sampler = SystemSampler([collector], proc=tmp_path, sys=tmp_path)
    assert all(math.isfinite(metric.value) for metric in sampler.sample() + sampler.sample())


# - drift methods -

COMPARISONS = [name for name in METHODS if hasattr(METHODS[name], "compare")]
OF_ROWS = [name for name in COMPARISONS if issubclass(METHODS[name], TableComparison)]
DETECTORS = [name for name in METHODS if hasattr(METHODS[name], "update")]


def samples(shift: float = 0.0, rows: int = 400) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    return rng.normal(size=rows), rng.normal(shift, 1, size=rows)


def pair(name: str, shift: float = 0.0) -> tuple[Any, Any]:
    """Two samples for a comparison; rows of three features that go together unless they have shifted."""
    if name not in OF_ROWS:
        return samples(shift)
    rng = np.random.default_rng(1)
    common = rng.normal(size=(800, 1)) + 0.3 * rng.normal(size=(800, 3))
    return common[:400], common[400:] if shift == 0 else rng.normal(shift, 1, size=(400, 3))


def shaped(name: str, values: list[Any]) -> list[Any]:
    """Values as a sample, or as rows of one feature."""
    return [[value] for value in values] if name in OF_ROWS else values


def test_a_drift_method_compares_or_detects() -> None:
    assert sorted([*COMPARISONS, *DETECTORS]) == sorted(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_drift_method_names_its_source(name: str) -> None:
    module = inspect.getmodule(METHODS[name])
    assert module
    said = f"{module.__doc__}\n{METHODS[name].__doc__}"
    assert re.search(r"\b(1[89]|20)\d\d\b", said), "the docstring names author, title and year"
    assert ">>>" in said, "and shows an example"


@pytest.mark.parametrize("name", METHODS)
def test_a_drift_method_refuses_what_it_does_not_take(name: str) -> None:
    made = compare if name in COMPARISONS else detector
    given = (shaped(name, [1.0, 2.0]),) * 2 if name in COMPARISONS else ()
    with pytest.raises((UnknownNameError, DataError), match="no_such_thing"):
        made(name, *given, no_such_thing=1)


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_tells_a_change_from_none(name: str) -> None:
    same, changed = (compare(name, *pair(name, shift), threshold=None) for shift in (0.0, 2.0))
    assert same.statistic is not None
    assert changed.statistic is not None
    assert changed.statistic != same.statistic
    level = 0.001 if changed.p_value is not None else (same.statistic + changed.statistic) / 2
    assert compare(name, *pair(name, 2.0), threshold=level).is_drift is True
    assert compare(name, *pair(name, 0.0), threshold=level).is_drift is False


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_without_a_threshold_decides_nothing(name: str) -> None:
    result = compare(name, *pair(name))
    assert (result.method, result.is_drift, result.threshold) == (name, None, None)
    assert result.p_value is None or 0 <= result.p_value <= 1
    assert result.sample_size == 400


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_of_nothing_has_no_answer(name: str) -> None:
    for reference, current in (([], [1.0]), ([1.0], []), ([math.nan, None], [1.0])):
        result = compare(name, shaped(name, reference), shaped(name, current), threshold=0.05)
        assert (result.statistic, result.p_value, result.is_drift) == (None, None, None)


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_takes_lists_and_arrays_alike_and_changes_neither(name: str) -> None:
    reference, current = pair(name, 0.5)
    before = reference.copy(), current.copy()
    found = compare(name, reference, current, threshold=0.05)
    assert compare(name, reference.tolist(), current.tolist(), threshold=0.05) == found
    gaps: list[Any] = [[math.nan] * 3, [None] * 3] if name in OF_ROWS else [math.nan, None]
    with_gaps = [gaps[0], *current.tolist(), gaps[1]]
    assert compare(name, reference, with_gaps, threshold=0.05).statistic == found.statistic
    assert np.array_equal(reference, before[0])
    assert np.array_equal(current, before[1])


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_result_of_a_comparison_is_a_record_in_strict_json(name: str) -> None:
    ones = shaped(name, [1.0, 1.0])
    for reference, current in (pair(name, 0.5), (ones, ones), ([], [])):
        result = compare(name, reference, current, threshold=0.05)
        assert isinstance(result, DriftResult)
        assert all(type(value) is not np.float64 for value in result.to_dict().values())
        assert type(result.is_drift) in (bool, type(None))
        msgspec.json.encode(result)


def made_detector(name: str) -> Any:
    needs_reference = "reference" in parameters(name)
    return detector(name, **({"reference": samples(rows=1000)[0]} if needs_reference else {}))


def stream(name: str, healthy: int, changed: int) -> list[float]:
    """Normal values that shift by 3, or errors that become frequent for a detector that takes errors."""
    rng = np.random.default_rng(3)
    try:
        made_detector(name).update(5.0)
    except DataError:
        wrong = [rng.random(healthy) < 0.05, rng.random(changed) < 0.7]
        return np.concatenate(wrong).astype(float).tolist()
    return [*rng.normal(size=healthy).tolist(), *rng.normal(3, 1, size=changed).tolist()]


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_quiet_on_healthy_values_and_fires_on_changed_ones(name: str) -> None:
    values = stream(name, healthy=2000, changed=1000)
    fired = made_detector(name).update_many(values)
    assert all(type(index) is int for index in fired)
    assert sum(index < 2000 for index in fired) <= 20
    assert any(2000 <= index < 2500 for index in fired)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_says_the_same_however_values_are_handed_in(name: str) -> None:
    values = stream(name, healthy=300, changed=300)
    one_by_one, fired = made_detector(name), []
    for index, value in enumerate(values):
        one_by_one.update(value)
        if one_by_one.drift_detected:
            fired.append(index)
    assert fired
    assert made_detector(name).update_many(values) == fired
    assert made_detector(name).update_many(np.array(values)) == fired
    assert type(one_by_one.warning_detected) is bool


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_bears_missing_values(name: str) -> None:
    made = made_detector(name)
    made.update(None)
    made.update(math.nan)
    assert made.drift_detected is False
