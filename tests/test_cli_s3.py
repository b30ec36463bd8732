"""A wrong bucket or wrong credentials: the commands say what is refused and why, and nothing is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.cli import main
from faulty_http_server import Answer, FaultyServer

pytest.importorskip("obstore", reason="the extra s3 is not installed")


@pytest.fixture(autouse=True)
def _apart(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("EDGE_MLOPS_MONITOR", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def said(status: int, code: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>About {code}.</Message></Error>"
    return Answer(status, {}, body.encode())


def config_for(url: str) -> None:
    Path("c.yaml").write_text(
        "telemetry: {retry_max_attempts: 1}\n"
        f"storage: {{sqlite_path: m.db, bucket: b, endpoint_url: '{url}', access_key_id: AKIAEXAMPLE, "
        "secret_access_key: hunter2}\n"
    )


def said_by_check(capsys) -> tuple[int, dict[str, str]]:
    status = main(["check", "--config", "c.yaml", "--json"])
    out = capsys.readouterr().out
    assert "hunter2" not in out
    (finding,) = (found for found in json.loads(out)["findings"] if found["subject"] == "sink s3")
    return status, finding


@pytest.mark.parametrize(
    ("status", "code"), [(403, "SignatureDoesNotMatch"), (403, "AccessDenied"), (404, "NoSuchBucket")]
)
def test_check_names_what_is_refused(capsys, status, code):
    with FaultyServer(said(status, code)) as server:
        config_for(server.url)
        exit_status, finding = said_by_check(capsys)
    assert exit_status == 1
    assert finding["status"] == "failed"
    assert finding["remedy"]


def test_check_is_content_with_a_bucket_that_answers(capsys):
    with FaultyServer(said(404, "NoSuchKey")) as server:
        config_for(server.url)
        assert said_by_check(capsys) == (
            0,
            {"subject": "sink s3", "status": "ok", "message": "it can be reached", "remedy": ""},
        )


def test_what_is_refused_stays_and_status_says_why(capsys):
    with FaultyServer(said(403, "InvalidAccessKeyId")) as server:
        config_for(server.url)
        monitor = EdgeMonitor("c.yaml")
        for number in range(10):
            monitor.log_prediction({"a": number}, 1.0)
        assert monitor.flush()
        monitor.stop()
        assert main(["upload", "--config", "c.yaml"]) == 1
    assert "wait and are tried again" in capsys.readouterr().out
    assert main(["status", "--config", "c.yaml"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "refused" in told
    assert "hunter2" not in told
    assert main(["status", "--config", "c.yaml", "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert state["prediction_count"] == 10
    assert state["pending_telemetry_batches"] > 0
    assert state["sinks"]["s3"]["refused"] is True
    assert state["sinks"]["s3"]["last_error"]
