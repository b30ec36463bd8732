"""The demo as a stranger runs it: a process of its own, whose story, files and next commands must be true."""

from __future__ import annotations

import csv
import gzip
import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_mlops_monitor.demo import summary
from edge_mlops_monitor.demo.arrived import arrived
from edge_mlops_monitor.demo.outcome import outcome
from edge_mlops_monitor.demo.play import PATIENCE_SECONDS, Played, may_come
from edge_mlops_monitor.demo.scene import Scene, folder_for
from edge_mlops_monitor.demo.script import Act, script
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.records import Event

SECONDS = "5"
COMMAND = [sys.executable, "-m", "edge_mlops_monitor", "demo"]


def environment(home: Path, **more: str) -> dict[str, str]:
    """A user's, with an empty home and an empty folder for temporary files."""
    folders = {name: home / name.lower() for name in ("HOME", "TMPDIR")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.pop('PATH', '')}"
    return {**kept, **{name: str(folder) for name, folder in folders.items()}, "PATH": path, **more}


class Told:
    """A demo that has ended: where it ran, its exit status and what it printed."""

    def __init__(self, home: Path, status: int, text: str, errors: str = "") -> None:
        self.home, self.status, self.text, self.errors = home, status, text, errors

    @property
    def story(self) -> dict[str, Any]:
        """The JSON that it printed."""
        found: dict[str, Any] = json.loads(self.text)
        return found


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Told]]:
    """Three demos at the same time, so that each is on a busy machine: JSON, into a file, at a terminal."""
    home = {name: tmp_path_factory.mktemp(name) for name in ("json", "plain", "terminal")}
    running = {
        "json": _start([*COMMAND, "--seconds", SECONDS, "--output", "out", "--json"], home["json"]),
        "plain": _start([*COMMAND, "--seconds", SECONDS], home["plain"]),
    }
    terminal = _at_a_terminal([*COMMAND, "--seconds", SECONDS, "-o", "out"], home["terminal"])
    told = {"terminal": Told(home["terminal"], *terminal)}
    for name, process in running.items():
        output, errors = process.communicate(timeout=250)
        told[name] = Told(home[name], process.returncode, output, errors)
    yield told
    for name in home:
        shutil.rmtree(home[name])


def _start(command: list[str], home: Path) -> subprocess.Popen[str]:
    (home / "work").mkdir()
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=home / "work", env=environment(home), text=True, **pipes)


def _at_a_terminal(command: list[str], home: Path) -> tuple[int, str]:
    (home / "work").mkdir()
    ours, theirs = pty.openpty()
    env = environment(home, TERM="xterm-256color", COLUMNS="100", LINES="40")
    process = subprocess.Popen(
        command, cwd=home / "work", env=env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    drawn = b""
    deadline = time.monotonic() + 250
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says so where the other end is closed
                break
            if not piece:
                break
            drawn += piece
    os.close(ours)
    return process.wait(timeout=10), drawn.decode()


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_story_comes_out_as_told(demos: dict[str, Told]) -> None:
    told = demos["json"]
    assert told.errors == ""
    assert told.status == 0
    story = told.story
    assert story["ok"] is True
    assert story["predictions"] == script(5).rows
    assert [one["name"] for one in story["injected"]] == [act.name for act in script(5).acts()]
    assert all(one["reported"] for one in story["injected"])
    assert story["false_alarms"] == 0


def test_the_stuck_sensor_is_reported_and_its_recovery_too(demos: dict[str, Told]) -> None:
    told = {one["name"]: one for one in demos["json"].story["injected"]}
    assert "inputs.temperature_c" in told["sticks"]["reported"]["message"]
    assert 0 <= told["sticks"]["reported"]["delay_predictions"] < 100
    assert told["sticks"]["reported"]["delay_seconds"] > 0
    assert 0 <= told["moves"]["reported"]["delay_predictions"] < 100


def test_the_shift_is_found_while_the_network_is_gone_with_its_size(demos: dict[str, Told]) -> None:
    told = {one["name"]: one for one in demos["json"].story["injected"]}
    found = told["shifts"]["reported"]
    assert "inputs.pressure_bar" in found["message"]
    assert found["effect"] == pytest.approx(0.5, abs=0.35)  # of few values: early, and rough
    assert found["effect_unit"] == "reference sd"
    assert told["network_gone"]["index"] < found["index"] < told["network_back"]["index"]


def test_nothing_leaves_while_the_network_is_gone(demos: dict[str, Told]) -> None:
    told = {one["name"]: one for one in demos["json"].story["injected"]}
    gone = told["network_gone"]["reported"]
    assert "Network is unreachable" in gone["message"]
    assert gone["uploaded_meanwhile"] == 0
    assert gone["waiting_records"] > 1000
    assert told["network_back"]["reported"]["delay_seconds"] > 0


def test_what_is_told_is_what_the_monitor_stored(demos: dict[str, Told]) -> None:
    told = demos["json"]
    program = f"{shlex.quote(sys.executable)} -m edge_mlops_monitor"
    exported = run_in(told, f"{program} export --kind events --config out/config.yaml")
    stored = {event["id"]: event for event in map(json.loads, exported.splitlines())}
    assert {event["id"] for event in told.story["events"]} == set(stored)
    for one in told.story["injected"]:
        if "event" in one["reported"]:
            event = stored[one["reported"]["event"]]
            assert one["reported"]["message"] == event["message"]
            assert one["reported"]["index"] == event["data"]["row"]


def test_every_prediction_arrives_once(demos: dict[str, Told]) -> None:
    told = demos["json"]
    out = told.home / "work" / "out"
    lines = [
        json.loads(line)
        for path in (out / "uploads").rglob("kind=predictions/**/*.jsonl.gz")
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    assert sorted(line["seq"] for line in lines) == list(range(1, told.story["predictions"] + 1))
    lines.sort(key=lambda line: line["seq"])
    with open(out / "recorded.csv", encoding="utf-8") as file:
        for line, row in zip(lines, csv.DictReader(file), strict=True):
            assert line["inputs"] == {name: float(row[name]) for name in line["inputs"]}
    assert told.story["delivery"]["complete"] is True


def test_the_cost_is_measured(demos: dict[str, Told]) -> None:
    cost = demos["json"].story["cost"]
    assert cost["calls"] > 1000
    assert 0 < cost["floor_median_us"] < cost["median_us"] < cost["p99_us"]


def test_nothing_is_written_outside_of_the_folder(demos: dict[str, Told]) -> None:
    for name in ("json", "terminal"):
        home = demos[name].home
        assert files(home / "home") == files(home / "tmpdir") == set()
        assert all(path.startswith("out/") for path in files(home / "work"))


def test_without_a_folder_everything_is_in_a_temporary_one(demos: dict[str, Told]) -> None:
    home = demos["plain"].home
    assert files(home / "work") == files(home / "home") == set()
    (folder,) = (home / "tmpdir").iterdir()
    expected = {"config.yaml", "monitor.db", "recorded.csv", "reference.json", "training.csv"}
    assert expected <= files(folder)


def test_a_log_file_gets_few_plain_lines(demos: dict[str, Told]) -> None:
    told = demos["plain"]
    assert told.errors == ""
    assert told.status == 0
    assert "\x1b" not in told.text
    assert len(told.text.splitlines()) < 70
    assert "simulated" in told.text
    assert "false alarms: 0" in told.text
    assert re.search(r"injected: network is gone\n", told.text)


def test_a_terminal_shows_a_live_panel_and_then_the_summary(demos: dict[str, Told]) -> None:
    told = demos["terminal"]
    assert told.status == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told.text)
    assert text.count("Edge MLOps Monitor") > 5  # drawn again and again
    assert "a second" in text
    assert text.index("Edge MLOps Monitor") < text.index("how much later it was reported")
    assert "all of it arrived once" in text


def run_in(told: Told, command: str) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=told.home / "work",
        env=environment(told.home),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def test_the_next_commands_work(demos: dict[str, Told]) -> None:
    told = demos["json"]
    status, export, replay = told.story["next"]
    assert "2 in alarm" in run_in(told, status)
    assert "stuck" in run_in(told, export)
    replayed = json.loads(run_in(told, f"{replay} --json"))
    assert [alarm["feature"] for alarm in replayed["alarms"]] == [
        "inputs.temperature_c",
        "inputs.pressure_bar",
    ]
    printed = demos["plain"].text
    commands = re.findall(r"^  (.* --config \S+)$", printed, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        run_in(demos["plain"], command)


def test_a_folder_that_is_in_use_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(DataError, match=r"is not empty; name a new folder with --output"):
        folder_for(tmp_path)
    assert files(tmp_path) == {"mine.txt"}


def test_a_monitor_that_is_turned_off_is_said_so(tmp_path: Path) -> None:
    done = subprocess.run(
        COMMAND,
        cwd=tmp_path,
        env=environment(tmp_path, EDGE_MLOPS_MONITOR_DISABLED="1"),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "unset it" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_users_environment_does_not_change_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_MLOPS_MONITOR__STORAGE__BUCKET", "the-users-own-bucket")
    scene = Scene(tmp_path, script(5))
    assert list(scene.config.effective_sinks()) == ["file"]


# - what did not come out as it should is told as well -


def played_without_reports(scene: Scene) -> Played:
    """A run in which the monitor stored and reported nothing."""
    played = Played(scene.script.rows)
    played.rows, played.seconds = scene.script.rows, 5.0
    played.calls = played.floors = [1e-6]
    played.acts = {act.name: (act.row, 100.0 + act.row) for act in scene.script.acts()}
    counts = (
        "prediction_count",
        "system_metrics_count",
        "drift_results_count",
        "event_count",
        "dead_letters",
    )
    played.status = {**dict.fromkeys(counts, 0), "dropped": {}, "database": {"bytes": 0}}
    return played


def test_the_network_stays_away_while_nobody_has_looked_but_not_for_ever() -> None:
    played, back = Played(10), Act(5, "network_back", "the network is back")
    played.acts["network_gone"] = (3, time.time())
    assert not may_come(back, played)
    played.acts["network_gone"] = (3, time.time() - 2 * PATIENCE_SECONDS)
    assert may_come(back, played)


def test_what_was_not_reported_is_named(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script(5))
    story = outcome(scene, played_without_reports(scene))
    assert story["ok"] is False
    assert [one["reported"] for one in story["injected"]] == [None] * 5
    said = summary.verdict(story).plain
    assert "'temperature_c sticks' was not reported" in said
    assert "what was uploaded is not what was stored" in said


@pytest.mark.parametrize(
    ("feature", "row", "false"),
    [
        ("inputs.speed_rpm", 3500, 1),  # nothing was done to it
        ("inputs.pressure_bar", 2999, 1),  # before it was shifted
        ("inputs.pressure_bar", 3400, 0),
        ("outputs.flow_l_min", 800, 1),
        ("outputs.flow_l_min", 5000, 0),  # the model reads the shifted sensor
        ("inputs.temperature_c", 5000, 1),  # long after it moved again
    ],
)
def test_an_alarm_that_nothing_explains_is_a_false_one(
    tmp_path: Path, feature: str, row: int, false: int
) -> None:
    scene = Scene(tmp_path, script(5))
    played = played_without_reports(scene)
    data = {"feature": feature, "row": row, "effect": 0.5, "effect_unit": "reference sd"}
    played.events = [Event(id="e", type="drift", severity="alarm", message="drift", data=data)]
    story = outcome(scene, played)
    assert story["false_alarms"] == false
    assert story["ok"] is False
    assert ("false alarms" in summary.verdict(story).plain) is bool(false)


def test_a_missing_and_a_doubled_object_are_seen(demos: dict[str, Told], tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    shutil.copytree(demos["json"].home / "work" / "out" / "uploads", uploads)
    assert (arrived(uploads).missing, arrived(uploads).twice) == (0, 0)
    first, second, *_ = sorted(uploads.rglob("kind=predictions/**/*.jsonl.gz"))
    shutil.copy(first, first.with_name("again.jsonl.gz"))
    second.unlink()
    assert arrived(uploads).twice > 0
    assert arrived(uploads).missing > 0
