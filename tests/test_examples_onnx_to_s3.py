"""The example `onnx_to_s3.py`, as a user runs it, and what is in the bucket afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bucket_on_loopback import Bucket, environment, s3_server

for module in ("moto.server", "boto3", "duckdb", "obstore", "sklearn", "skl2onnx", "onnxruntime"):
    pytest.importorskip(module, reason=f"{module} is not installed")

PICTURES = 899  # half of scikit-learn's digits
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "onnx_to_s3.py"


class Run(NamedTuple):
    """What the example printed, the bucket that it uploaded to, and the keys there."""

    printed: str
    bucket: Bucket
    objects: list[str]


def run_example(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=250)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("digits")
    with s3_server() as url:
        bucket = Bucket(url, "telemetry", folder / "bucket")
        where = ["--bucket", bucket.name, "--endpoint-url", url]
        done = run_example(*where, "--folder", folder / "work")
        assert done.returncode == 0, done.stderr
        objects = bucket.download()
        assert objects, done.stdout
        yield Run(done.stdout, bucket, objects)


def test_every_prediction_is_in_the_bucket_once(run: Run) -> None:
    assert run.bucket.assert_complete("predictions") == PICTURES
    assert run.bucket.rows("predictions", "count(DISTINCT id)") == [(PICTURES,)]


def test_the_predictions_are_what_the_model_saw_and_said(run: Run) -> None:
    [(model, version, shape, sure, failed)] = run.bucket.rows(
        "predictions",
        "any_value(model), any_value(model_version), min(len(inputs.image)), "
        "min(outputs.confidence), count(error)",
    )
    assert (str(model), str(version), shape, failed) == ("digits", "1", 8, 0)
    assert 0.1 < sure < 1
    [(before, after)] = run.bucket.rows(  # DuckDB counts from 1: this is image[0][4]
        "predictions",
        f"avg(inputs.image[1][5]) FILTER (seq <= {PICTURES // 2}), "
        f"avg(inputs.image[1][5]) FILTER (seq > {PICTURES // 2})",
    )
    assert after == pytest.approx(before / 2, rel=0.1)


def test_the_faded_column_raises_the_alarm_and_nothing_does_before(run: Run) -> None:
    [(faded_at,)] = run.bucket.rows("predictions", "min(ts)", f"WHERE seq > {PICTURES // 2}")
    alarms = run.bucket.rows(
        "events", "ts, data.feature, data.since", "WHERE severity = 'alarm' ORDER BY seq"
    )
    assert alarms
    assert all(ts > faded_at for ts, _, _ in alarms)
    assert {feature for _, feature, _ in alarms} <= {f"inputs.image[{row}][4]" for row in range(8)}
    first = alarms[0][0]
    assert run.bucket.rows("predictions", "count(*)", f"WHERE ts BETWEEN {faded_at} AND {first}")[0][0] < 150


def test_nothing_was_given_up_and_no_event_is_missing(run: Run) -> None:
    run.bucket.assert_complete("events")
    assert {type for (type,) in run.bucket.rows("events", "DISTINCT type")} == {"generation", "drift"}


def test_results_and_measurements_of_the_device_are_there_too(run: Run) -> None:
    assert run.bucket.assert_complete("drift") > 0
    assert run.bucket.rows("drift", "DISTINCT feature", "WHERE is_drift AND feature LIKE '%[4]'")
    assert run.bucket.assert_complete("system") > 0
    names = {name for (name,) in run.bucket.rows("system", "DISTINCT name")}
    assert {"system.cpu.utilization", "system.memory.usage", "process.memory.usage"} <= names


def test_the_report_says_what_the_bucket_says(run: Run) -> None:
    [(alarms,)] = run.bucket.rows("events", "count(*)", "WHERE severity = 'alarm'")
    assert f"alarms: {alarms}, {alarms} of them on the faded column; before it faded: 0" in run.printed
    kinds = ("predictions", "system", "drift", "events", "profiles")
    records = sum(run.bucket.assert_complete(kind) for kind in kinds)
    uploaded = f"uploaded: {records} records in {len(run.objects)} objects, 0 objects wait; error: none"
    assert uploaded in run.printed
    assert "not recorded: nothing" in run.printed
