"""`run`, `upload`, `purge` and `drift` on a real database, a real folder and real processes."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.cli import main
from edge_mlops_monitor.store import Store
from programs import run


@pytest.fixture(autouse=True)
def _apart(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("EDGE_MLOPS_MONITOR", "AWS_")) or name in ("NOTIFY_SOCKET", "JOURNAL_STREAM"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(
        "storage: {sqlite_path: m.db, type: file, path: out}\n"
        "system: {sampling_interval_seconds: 0.1}\n"
        "model_logging: {flush_interval_seconds: 0.05}\n"
        "drift_detection: {reference_data_path: ref.json}\n"
    )
    numbers = random.Random(1)
    Path("ref.json").write_text(json.dumps({"a": [numbers.gauss(0, 1) for _ in range(2000)]}))


def log(shift: float = 0.0, count: int = 400) -> None:
    """Predictions of a model, as a program that ran before would have left them."""
    numbers = random.Random(2)
    monitor = EdgeMonitor("c.yaml")
    for number in range(count):
        monitor.log_prediction({"a": numbers.gauss(shift, 1)}, 1.0, prediction_id=f"p{number}", model="m")
    assert monitor.flush()
    monitor.stop()


def answer(capsys, *arguments: str, status: int = 0):
    assert main([*arguments, "--config", "c.yaml", "--json"]) == status
    return json.loads(capsys.readouterr().out)


# --- run ---


def agent(**environ: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edge_mlops_monitor", "run", "--config", "c.yaml"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_agent_measures_until_it_is_told_to_stop_and_ends_well(number, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("notify")
        systemd.settimeout(100)
        process = agent(NOTIFY_SOCKET="notify")
        assert systemd.recv(100) == b"READY=1"
        process.send_signal(number)
        assert systemd.recv(100) == b"STOPPING=1"
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "stopped" in errors
    assert Store(tmp_path / "m.db", create=False).generation


def test_a_signal_is_heard_at_whatever_moment_it_comes():
    # Children send one around the moment when the wait begins: a little before, or a little after.
    text = """
import os, random, signal, time
from edge_mlops_monitor.cli.run import told_to_stop

chance = random.Random(1)
for turn in range(500):
    with told_to_stop() as told:
        pause = chance.uniform(0, 0.0003)
        child = os.fork()
        if child == 0:
            ends = time.perf_counter() + pause
            while time.perf_counter() < ends:
                pass
            os.kill(os.getppid(), signal.SIGTERM)
            os._exit(0)
        told.recv(1)
    os.waitpid(child, 0)
"""
    run(text)


def test_an_agent_with_a_wrong_config_says_so_and_ends_with_2():
    Path("c.yaml").write_text("storage: {type: tape}\n")
    process = agent()
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 2
    assert errors.startswith("edge-mlops-monitor: ")
    assert "storage.type is 'tape'" in errors


# --- upload ---


def test_upload_sends_everything_once(capsys):
    log()
    sent = answer(capsys, "upload")
    assert sent["pending"] == 0
    assert sent["records"] >= 400
    assert len(list(Path("out").rglob("*.gz"))) == sent["delivered"]
    assert answer(capsys, "upload")["records"] == 0
    assert main(["upload", "--config", "c.yaml"]) == 0
    assert "there was nothing to send" in capsys.readouterr().out


def test_upload_without_a_sink_names_the_remedy(capsys):
    Path("c.yaml").write_text("storage: {sqlite_path: m.db}\n")
    assert main(["upload", "--config", "c.yaml"]) == 1
    assert "set storage.bucket" in capsys.readouterr().err


def test_upload_that_is_refused_keeps_everything_and_exits_with_1(capsys):
    Path("c.yaml").write_text("storage: {sqlite_path: m.db, type: file, path: out}\n")
    Path("out").write_text("a file where the folder should be")
    log()
    waiting = answer(capsys, "upload", status=1)
    assert waiting["pending"] > 0
    assert "out" in waiting["errors"]["file"]
    assert main(["upload", "--config", "c.yaml"]) == 1
    assert "wait and are tried again" in capsys.readouterr().out
    Path("out").unlink()
    assert answer(capsys, "upload")["pending"] == 0


# --- purge ---


def test_purge_erases_one_prediction(capsys):
    log(count=10)
    assert answer(capsys, "purge", "--id", "p3")["erased"]["predictions"] == 1
    assert answer(capsys, "purge", "--id", "p3")["erased"]["predictions"] == 0
    assert main(["purge", "--config", "c.yaml", "--id", "p3"]) == 0
    assert "nothing to erase" in capsys.readouterr().out


def test_purge_erases_what_is_older(capsys):
    log(count=10)
    assert answer(capsys, "purge", "--before", "1d")["erased"]["predictions"] == 0
    assert answer(capsys, "purge", "--before", "0s")["erased"]["predictions"] == 10


@pytest.mark.parametrize("options", [[], ["--id", "p", "--before", "1d"]])
def test_purge_wants_to_know_what(capsys, options):
    assert main(["purge", "--config", "c.yaml", *options]) == 2
    assert "either --before T or --id ID" in capsys.readouterr().err


# --- drift ---


def test_drift_says_which_feature_moved(capsys):
    log(shift=3.0)
    found = answer(capsys, "drift")
    assert found["drift"] is True
    assert any(result["is_drift"] and "a" in result["feature"] for result in found["results"])
    assert answer(capsys, "drift", "--exit-code", status=3)["drift"] is True
    assert main(["drift", "--config", "c.yaml"]) == 0
    out = capsys.readouterr().out
    assert "DRIFT m inputs.a" in out
    assert max(map(len, out.splitlines())) <= 80


def test_drift_is_silent_about_what_has_not_moved(capsys):
    log()
    assert answer(capsys, "drift", "--exit-code")["drift"] is False


# --- none of them creates a database ---


@pytest.mark.parametrize("arguments", [["upload"], ["drift"], ["purge", "--id", "p"], ["export"], ["status"]])
def test_a_command_that_reads_creates_no_database(capsys, tmp_path, arguments):
    assert main([*arguments, "--config", "c.yaml"]) == 1
    assert "there is no database at" in capsys.readouterr().err
    assert list(tmp_path.glob("*.db*")) == []
