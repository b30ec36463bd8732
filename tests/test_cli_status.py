"""`status`: the state once, without creating anything, without importing what it does not need."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from edge_mlops_monitor.cli import main
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.records import Prediction
from edge_mlops_monitor.store import Store


@pytest.fixture(autouse=True)
def _apart(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("EDGE_MLOPS_MONITOR"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("storage: {sqlite_path: m.db, type: file, path: out}\n")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "m.db", device_id="pi-7", clock=ManualClock())
    with store.transaction() as tx:
        tx.append("predictions", [Prediction(ts=5.0, inputs={"a": n}) for n in range(1234)])
        tx.lost("buffer_full", 12)
        tx.event("note", "info", "nothing to see")
        for n in range(7):
            tx.event(
                "drift",
                "alarm",
                f"camera-3 inputs.brightness number {n} is lower by half a standard deviation",
            )
        tx.event("note", "info", "nothing to see either")
    yield store
    store.close()


def test_the_answer_has_the_promised_keys(store, capsys):
    assert main(["status", "--config", "c.yaml", "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert state["prediction_count"] == 1234
    assert state["dropped"] == {"buffer_full": 12}
    assert state["device_id"] == "pi-7"
    assert state["database"]["exists"] is True
    assert list(state["sinks"]) == ["file"]
    assert [event["message"].split()[3] for event in state["recent_events"]] == ["6", "5", "4", "3", "2"]
    promised = {
        "system_metrics_count",
        "pending_telemetry_batches",
        "drift_results_count",
        "last_upload",
        "last_error",
    }
    assert promised <= set(state)


def test_every_key_is_documented(store, capsys):
    page = (Path(__file__).parent.parent / "docs" / "commands.md").read_text()
    main(["status", "--config", "c.yaml", "--json"])
    state = json.loads(capsys.readouterr().out)
    for key in [*state, *state["sinks"]["file"], *state["database"]]:
        assert f"`{key}`" in page, f"docs/commands.md does not describe the key {key} of `status`"


def test_people_get_80_columns_with_the_figures(store, capsys):
    assert main(["status", "--config", "c.yaml"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for words in (
        "pi-7",
        "1 234 predictions",
        "buffer full 12",
        "sink file",
        "Last alarms and warnings",
        "number 6",
    ):
        assert words in out
    assert "nothing to see" not in out


def test_features_that_are_not_fine_are_named_with_the_reason(store, capsys):
    stream = {"model": "detector", "model_version": "3", "source": "camera-3"}
    features = [
        {**stream, "feature": "inputs.a", "state": "fine"},
        {**stream, "feature": "inputs.b", "state": "alarm", "since": 1_700_000_000.0, "acknowledged": True}
        | {"type": "spike"},
        {**stream, "feature": "inputs.c", "state": "learning", "missing": "300 predictions"},
        {
            **stream,
            "feature": "outputs." + "x" * 100,
            "state": "not_enough_reference",
            "missing": "too few rows",
        },
        *({**stream, "feature": f"inputs.s{n}", "state": "stuck"} for n in range(20)),
    ]
    with store.transaction() as tx:
        tx.put("features", json.dumps(features).encode())
    assert main(["status", "--config", "c.yaml"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "1 in alarm, 20 stuck, 1 without enough reference, 1 learning, 1 fine" in " ".join(out.split())
    assert "detector 3 camera-3 inputs.b" in out
    assert "in alarm (spike) since" in out
    assert "(acknowledged)" in out
    assert "and 15 more" in out


def test_a_name_from_the_data_commands_no_terminal(store):
    """Neither by its colours or its title, nor by a line of its own."""
    hostile = "inputs.a\x1b]0;title\x07\x1b[31m\nlost      everything\x9b2J\u202e"
    feature = {"model": hostile, "model_version": None, "source": None, "feature": hostile, "state": "stuck"}
    with store.transaction() as tx:
        tx.put("features", json.dumps([feature]).encode())
        tx.event("drift", "alarm", f"{hostile} is stuck")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "edge_mlops_monitor", "status", "--config", "c.yaml"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs) as program:
        os.close(theirs)
        shown = drained(ours)
    assert program.returncode == 0
    text = shown.decode()
    assert "inputs.a" in text
    assert "is stuck" in text
    assert not [one for one in text if one not in "\r\n" and not one.isprintable()]
    assert not [line for line in text.splitlines() if line.startswith("lost") and "everything" in line]


def drained(terminal: int) -> bytes:
    """All that is written to a terminal until nobody has it open any more."""
    found = b""
    try:
        while part := os.read(terminal, 65536):
            found += part
    except OSError:  # how Linux says the same
        pass
    os.close(terminal)
    return found


def test_without_a_database_it_says_so_and_creates_none(capsys, tmp_path):
    assert main(["status", "--config", "c.yaml"]) == 1
    assert "there is no database at" in capsys.readouterr().err
    assert main(["status", "--config", "c.yaml", "--json"]) == 1
    state = json.loads(capsys.readouterr().out)
    assert state["database"]["exists"] is False
    assert state["prediction_count"] == 0
    assert not (tmp_path / "m.db").exists()


def test_neither_numpy_nor_rich_is_imported(store):
    code = (
        "import sys; from edge_mlops_monitor.cli import main; main(['status', '--config', 'c.yaml']);"
        "bad = {'numpy', 'rich', 'obstore', 'pyarrow'} & set(sys.modules); sys.exit(f'{bad}' if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_writer_is_not_disturbed_by_the_reader(store, capsys):
    with store.transaction() as tx:
        tx.append("predictions", [Prediction(ts=6.0, inputs={"a": 1})])
        assert main(["status", "--config", "c.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prediction_count"] == 1234
