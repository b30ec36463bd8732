"""The play: the inference loop of a device, watched by the monitor, while the script goes wrong on it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

import msgspec
import numpy as np

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.demo.network import SimulatedNetwork
from edge_mlops_monitor.demo.pump import FLOW, as_matrix_row
from edge_mlops_monitor.demo.scene import RECORDED, UPLOADS, Scene, write_rows
from edge_mlops_monitor.demo.script import Act
from edge_mlops_monitor.records import Event
from edge_mlops_monitor.worker import Worker

MODEL, VERSION = "flow", "1"
UPLOAD_SECONDS = 30.0  # for what is left at the end
LATE_SECONDS = 0.25  # a loop that is later than that goes on later, instead of in a hurry
BUSY_ROWS = 20  # after so many rows a late loop gives the other threads a moment
PATIENCE_SECONDS = (
    10.0  # for how long the network stays away until the monitor has noticed, on a busy machine
)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What the monitor said about itself at one moment; counts are records, `objects` wait in the outbox."""

    ts: float
    row: int
    stored: int
    uploaded: int
    objects: int
    gone: bool
    error: str | None
    states: dict[str, str]

    @property
    def waiting(self) -> int:
        """Records that have not been uploaded."""
        return self.stored - self.uploaded


class Played:
    """What happened, as the device's program saw it. Times of calls are in seconds."""

    def __init__(self, rows: int) -> None:
        self.began = 0.0  # Unix seconds
        self.seconds = 0.0
        self.rows = 0  # answered so far
        self.times = np.zeros(rows)
        self.answers = np.zeros(rows)
        self.calls: list[float] = []
        self.floors: list[float] = []
        self.acts: dict[str, tuple[int, float]] = {}  # name of the act -> row, Unix seconds
        self.heard: list[tuple[float, Event]] = []
        self.looks: list[Look] = []
        self.events: list[Event] = []
        self.status: dict[str, Any] = {}


class Screen(Protocol):
    """Whoever watches the play."""

    def act(self, played: Played, act: Act) -> None:
        """Something was done to the pump or its network."""

    def heard(self, played: Played, event: Event) -> None:
        """The monitor reported something."""

    def look(self, played: Played, look: Look) -> None:
        """Time went on."""


def play(scene: Scene, screen: Screen) -> Played:
    """Run the whole script; with what was stored and uploaded by its end."""
    played = Played(scene.script.rows)
    network = SimulatedNetwork(scene.folder / UPLOADS)
    monitor = EdgeMonitor(config=scene.config)

    def hear(event: Event) -> None:
        played.heard.append((time.time(), event))
        screen.heard(played, event)

    def look(now: float) -> None:
        played.looks.append(_look(monitor, played, network))
        screen.look(played, played.looks[-1])

    monitor.on_event(hear, "info")
    watcher = Worker("demo", look, scene.script.pace / 2)
    with monitor:
        watcher.start()
        try:
            _answer_all(scene, monitor, played, network, screen)
            _finish(monitor, played)
        finally:
            network.gone = False
            watcher.stop()
        look(0.0)
        played.status = monitor.get_status()
        played.events = sorted(monitor.events(), key=lambda event: event.seq)
    _write_recording(scene, played)
    return played


def _answer_all(
    scene: Scene, monitor: EdgeMonitor, played: Played, network: SimulatedNetwork, screen: Screen
) -> None:
    """The loop of any inference program: read the sensors, answer, wait for the next reading."""
    answer = _Timed(scene, monitor)
    acts = deque(scene.script.acts())
    pause = 1 / scene.script.rate
    played.began = time.time()
    began = perf_counter()
    first = began
    for row in range(scene.script.rows):
        wait = began + row * pause - perf_counter()
        if wait > 0 or row % BUSY_ROWS == 0:
            time.sleep(max(wait, 0))
        if wait < -LATE_SECONDS:
            began -= wait
        if acts and acts[0].row <= row and may_come(acts[0], played):
            _do(acts.popleft(), played, network, screen)
        played.times[row] = time.time()
        played.answers[row] = answer(scene.live.row(row), played, row)
        played.rows = row + 1
    played.seconds = perf_counter() - first
    for act in acts:
        _do(act, played, network, screen)


def may_come(act: Act, played: Played) -> bool:
    """Whether the time of an act has come: the network is not back before it was missed."""
    missed = bool(played.looks and played.looks[-1].error)  # on a busy machine nobody may have looked yet
    if act.name != "network_back" or missed:
        return True
    gone_at = played.acts["network_gone"][1]
    return time.time() - gone_at > PATIENCE_SECONDS


def _do(act: Act, played: Played, network: SimulatedNetwork, screen: Screen) -> None:
    if act.name.startswith("network"):
        network.gone = act.name == "network_gone"
    played.acts[act.name] = (played.rows, time.time())
    screen.act(played, act)


class _Timed:
    """The watched model, with what the monitor's share of each call takes.

    The floor is the least that recording can cost: encoding inputs and outputs, and keeping the bytes. Of
    two rows one measures the floor and one the call, so that both find the caches as the wait has left them.
    """

    def __init__(self, scene: Scene, monitor: EdgeMonitor) -> None:
        self.model = scene.model
        self.own = 0.0
        self.kept: deque[bytes] = deque(maxlen=1000)
        self.encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
        self.last: tuple[Any, Any] = ({}, {})
        self.predict = monitor.watch(model=MODEL, model_version=VERSION)(self._predict)

    def _predict(self, reading: dict[str, float]) -> dict[str, float]:
        began = perf_counter()
        answer = {FLOW: round(float(self.model.predict(as_matrix_row(reading))), 2)}
        self.own = perf_counter() - began
        return answer

    def __call__(self, reading: dict[str, float], played: Played, row: int) -> float:
        for_floor = row % 2 == 1
        if for_floor:
            played.floors.append(self._floor())
        began = perf_counter()
        answer = self.predict(reading)
        ended = perf_counter()
        if not for_floor:
            played.calls.append(ended - began - self.own)
        self.last = (reading, answer)
        return answer[FLOW]

    def _floor(self) -> float:
        began = perf_counter()
        self.kept.append(self.encode(self.last))
        return perf_counter() - began


def _finish(monitor: EdgeMonitor, played: Played) -> None:
    """As at the end of a shift: everything decided, everything uploaded."""
    monitor.flush(10)
    monitor.check_drift()
    monitor.stop_system_monitoring()
    monitor.upload_now(UPLOAD_SECONDS)


def _write_recording(scene: Scene, played: Played) -> None:
    """What a data logger beside the pump would have written; `replay` can read it."""
    write_rows(scene.folder / RECORDED, {"ts": played.times, **scene.live.sensors})


def _look(monitor: EdgeMonitor, played: Played, network: SimulatedNetwork) -> Look:
    status = monitor.get_status()
    sink = status["sinks"]["file"]
    kinds = ("prediction_count", "system_metrics_count", "drift_results_count", "event_count")
    return Look(
        ts=time.time(),
        row=played.rows,
        stored=sum(status[kind] for kind in kinds),
        uploaded=sink["records"],
        objects=sink["pending"],
        gone=network.gone,
        error=sink["last_error"],
        states={feature["feature"]: feature["state"] for feature in status["features"]},
    )
