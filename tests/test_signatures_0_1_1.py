"""What version 0.1.1 documented keeps working: its methods' parameters, its config, its reference data.

The table was written out from the sources of 0.1.1. New parameters may follow the old ones, with defaults.
"""

from __future__ import annotations

import inspect
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge_mlops_monitor import EdgeMonitor, load_config, save_default_config

REQUIRED = inspect.Parameter.empty

# method: ({parameter: default}, return type)
METHODS: dict[str, tuple[dict[str, Any], str]] = {
    "__init__": ({"config_path": None, "device_id": ""}, "None"),
    "start": ({}, "None"),
    "stop": ({}, "None"),
    "start_system_monitoring": ({}, "None"),
    "stop_system_monitoring": ({}, "None"),
    "start_telemetry_upload": ({}, "None"),
    "stop_telemetry_upload": ({}, "None"),
    "log_model_input": ({"input_data": REQUIRED}, "str"),
    "log_model_output": ({"input_id": REQUIRED, "output_data": REQUIRED}, "str"),
    "create_telemetry_batch": (
        {"include_system": True, "include_model": True, "include_drift": True, "max_records": 100},
        "str",
    ),
    "set_reference_data": ({"feature_name": REQUIRED, "values": REQUIRED}, "None"),
    "save_reference_data": ({"output_path": None}, "None"),
    "get_status": ({}, "dict[str, Any]"),
}

CONFIG_0_1_1 = """\
system:
  sampling_interval_seconds: 10
  max_memory_buffer_mb: 50
model_logging:
  buffer_size: 1000
  log_level: INFO
drift_detection:
  algorithm: ks_test
  threshold: 0.05
  reference_data_path: "reference_data.json"
  check_frequency: 100
telemetry:
  upload_interval_seconds: 300
  max_batch_size: 100
  retry_base_delay_seconds: 1
  retry_max_delay_seconds: 60
  retry_max_attempts: 5
storage:
  type: "s3"
  bucket: "your-telemetry-bucket"
  prefix: "edge-device-1/"
  sqlite_path: "edge_mlops_monitor.db"
  max_sqlite_size_mb: 100
"""

TABLE_0_1_1 = """\
CREATE TABLE model_outputs (
    id TEXT PRIMARY KEY,
    input_id TEXT NOT NULL,
    timestamp REAL NOT NULL,
    output_data TEXT NOT NULL,
    device_id TEXT NOT NULL
)"""


def check_parameters(function: Callable[..., Any], expected: dict[str, Any]) -> None:
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    assert {p.name: p.default for p in parameters[: len(expected)]} == expected
    assert [p.name for p in parameters[: len(expected)]] == list(expected)
    for old in parameters[: len(expected)]:
        assert old.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    assert [
        p.name for p in parameters[len(expected) :] if p.default is REQUIRED and p.kind not in variable
    ] == [], "a parameter that is new since 0.1.1 needs a default"


@pytest.mark.parametrize("method", METHODS)
def test_a_method_of_0_1_1_takes_what_it_took_and_returns_what_it_returned(method: str) -> None:
    parameters, returned = METHODS[method]
    function = getattr(EdgeMonitor, method)
    check_parameters(function, parameters)
    annotation = inspect.signature(function).return_annotation
    assert getattr(annotation, "__name__", str(annotation)) == returned


def test_the_functions_of_0_1_1_take_what_they_took() -> None:
    check_parameters(load_config, {"config_path": None})
    check_parameters(save_default_config, {"output_path": REQUIRED})


def test_a_config_of_0_1_1_loads_and_is_read_by_subscript(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG_0_1_1)
    config = load_config(str(path))
    assert config["system"]["sampling_interval_seconds"] == 10
    assert config["model_logging"]["buffer_size"] == 1000
    assert config["drift_detection"]["algorithm"] == "ks_test"
    assert config["drift_detection"]["threshold"] == 0.05
    assert config["telemetry"]["max_batch_size"] == 100
    assert config["storage"]["type"] == "s3"
    assert config["storage"]["bucket"] == "your-telemetry-bucket"


def test_a_bucket_without_a_type_still_means_s3(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("storage: {bucket: your-telemetry-bucket}\n")
    assert load_config(str(path))["storage"]["type"] == "s3"


def test_the_errors_of_0_1_1_are_still_caught(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_config(str(tmp_path / "absent.yaml"))
    path = tmp_path / "config.yaml"
    path.write_text("system: {sampling_interval_seconds: 0}\n")
    with pytest.raises(ValueError, match="sampling_interval_seconds"):
        load_config(str(path))


def test_a_database_of_0_1_1_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "edge_mlops_monitor.db"
    with closing(sqlite3.connect(path)) as old:
        old.execute(TABLE_0_1_1)
        old.execute("INSERT INTO model_outputs VALUES ('o', 'i', 1.0, '{}', 'pi')")
        old.commit()
    config = tmp_path / "config.yaml"
    config.write_text("storage: {type: sqlite, sqlite_path: edge_mlops_monitor.db}\n")

    with EdgeMonitor(str(config)) as monitor:
        monitor.log_prediction({"x": 1}, {"score": 0.5})
        assert monitor.flush(10)
    assert monitor.get_status()["prediction_count"] == 1
    with closing(sqlite3.connect(tmp_path / "edge_mlops_monitor.db.v0.1")) as old:
        assert old.execute("SELECT id FROM model_outputs").fetchall() == [("o",)]


def test_the_quick_start_of_0_1_1_runs(tmp_path: Path) -> None:
    reference = tmp_path / "reference_data.json"
    reference.write_text(json.dumps({"score": [0.1 * number for number in range(50)]}))
    path = tmp_path / "config.yaml"
    text = CONFIG_0_1_1.replace('type: "s3"', "type: sqlite").replace(
        'bucket: "your-telemetry-bucket"', 'bucket: ""'
    )
    path.write_text(text)

    monitor = EdgeMonitor(config_path=str(path))
    monitor.start_system_monitoring()
    try:
        for number in range(5):
            input_id = monitor.log_model_input({"x": number})
            assert isinstance(monitor.log_model_output(input_id, {"score": 0.5}), str)
        monitor.set_reference_data("score", [0.1, 0.2, 0.3])
        assert isinstance(monitor.create_telemetry_batch(), str)
    finally:
        monitor.stop()
    status = monitor.get_status()
    assert status["prediction_count"] == 5
    assert {"system_metrics_count", "pending_telemetry_batches", "drift_results_count"} <= status.keys()
