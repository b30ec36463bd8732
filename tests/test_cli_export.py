"""`export`: what is stored comes out whole, oldest first, in the form that was asked for."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_mlops_monitor.cli import main
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.records import Actual, Event, Prediction, SystemMetric
from edge_mlops_monitor.store import Store


@pytest.fixture(autouse=True)
def _apart(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("EDGE_MLOPS_MONITOR"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("storage: {sqlite_path: m.db}\n")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "m.db", device_id="pi-7", clock=ManualClock())
    with store.transaction() as tx:
        for start in (0, 3):
            numbers = range(start, start + 3)
            tx.append(
                "predictions",
                [
                    Prediction(
                        ts=1_700_000_000.0 + n,
                        id=f"p{n}",
                        inputs={"a": n, "box": {"w": 1.5}},
                        outputs={"y": [n, n]},
                    )
                    for n in numbers
                ],
            )
        tx.append("actuals", [Actual(ts=1_700_000_001.0, prediction_id="p1", actual='say "hi", ümlaut\n')])
        tx.append(
            "system", [SystemMetric(ts=1.0, name="system.cpu.utilization", value=float("nan"), unit="1")]
        )
        tx.append("events", [Event(ts=2.0, id="e", type="alarm", message="m", data={"x": None})])
    yield store
    store.close()


def exported(capsysbinary, *options: str) -> bytes:
    assert main(["export", "--config", "c.yaml", *options]) == 0
    return capsysbinary.readouterr().out


def test_every_record_comes_out_once_and_oldest_first(store, capsysbinary):
    lines = [json.loads(line) for line in exported(capsysbinary).splitlines()]
    assert [line["id"] for line in lines] == [f"p{n}" for n in range(6)]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[2]["inputs"] == {"a": 2, "box": {"w": 1.5}}
    assert lines[2]["device_id"] == "pi-7"


def test_the_period_is_kept_to(store, capsysbinary):
    lines = exported(capsysbinary, "--since", "1700000002", "--until", "1700000004").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["p2", "p3", "p4"]


def test_csv_has_a_column_for_every_nested_value(store, capsysbinary):
    rows = list(csv.DictReader(io.StringIO(exported(capsysbinary, "--format", "csv").decode())))
    assert len(rows) == 6
    assert rows[5]["inputs.a"] == "5"
    assert rows[5]["inputs.box.w"] == "1.5"
    assert json.loads(rows[5]["outputs.y"]) == [5, 5]
    assert rows[5]["error"] == ""


def test_awkward_texts_survive_csv(store, capsysbinary):
    out = exported(capsysbinary, "--kind", "actuals", "--format", "csv").decode()
    (row,) = csv.DictReader(io.StringIO(out, newline=""))
    assert row["actual"] == 'say "hi", ümlaut\n'


@pytest.mark.parametrize("kind", ["system", "events", "drift"])
def test_every_kind_is_json_that_any_program_reads(store, capsysbinary, kind):
    lines = exported(capsysbinary, "--kind", kind).splitlines()
    assert len(lines) == (0 if kind == "drift" else 1 if kind == "system" else 2)
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_a_file_appears_whole_and_nothing_is_printed(store, capsysbinary):
    assert exported(capsysbinary, "-o", "out.jsonl") == b""
    assert len(Path("out.jsonl").read_bytes().splitlines()) == 6
    assert not Path("out.jsonl.part").exists()


def test_a_file_that_cannot_be_written_is_explained(store, capsys):
    assert main(["export", "--config", "c.yaml", "-o", "no/where.jsonl"]) == 2
    assert "no such file or directory; check the name" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_gets_no_traceback(store):
    with store.transaction() as tx:
        tx.append("predictions", [Prediction(ts=1.0, inputs={"a": "x" * 100}) for _ in range(20_000)])
    command = f"{sys.executable} -m edge_mlops_monitor export --config c.yaml | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(done.stdout)["id"] == "p0"
    assert done.stderr == ""


def test_reading_creates_no_database(capsys, tmp_path):
    assert main(["export", "--config", "c.yaml"]) == 1
    assert "there is no database at" in capsys.readouterr().err
    assert not (tmp_path / "m.db").exists()


def test_a_foreign_file_is_explained(capsys):
    Path("m.db").write_text("this is no database, just text that somebody left here")
    assert main(["export", "--config", "c.yaml"]) == 1
    captured = capsys.readouterr()
    assert "m.db" in captured.err
    assert captured.err.count("\n") == 1
