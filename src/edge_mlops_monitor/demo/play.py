"""The play: the inference loop of a device, watched by the monitor, while the script goes wrong on it."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

import msgspec

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.demo.network import SimulatedNetwork
from edge_mlops_monitor.demo.pump import FLOW, as_matrix_row
from edge_mlops_monitor.demo.scene import UPLOADS, Scene
from edge_mlops_monitor.demo.script import Act
from edge_mlops_monitor.records import Event
from edge_mlops_monitor.worker import Worker

MODEL, VERSION = "flow", "1"
LOOK_SECONDS = 0.5  # between two looks at the monitor's state
UPLOAD_SECONDS = 30.0  # for what is left at the end
BUSY_ROWS = 20  # behind by more than that, the loop gives the other threads a moment


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


class Played(msgspec.Struct, kw_only=True):
    """What happened, as the device's program saw it. Times of calls in seconds."""

    began: float = 0.0
    seconds: float = 0.0
    rows: int = 0
    acts: dict[str, float] = msgspec.field(default_factory=dict)  # name of the act -> Unix seconds
    heard: list[tuple[float, Event]] = msgspec.field(default_factory=list)
    looks: list[Look] = msgspec.field(default_factory=list)
    times: array[float] = msgspec.field(default_factory=lambda: array("d"))
    answers: array[float] = msgspec.field(default_factory=lambda: array("d"))
    calls: array[float] = msgspec.field(default_factory=lambda: array("d"))
    floors: array[float] = msgspec.field(default_factory=lambda: array("d"))
    events: list[Event] = msgspec.field(default_factory=list)
    status: dict[str, Any] = msgspec.field(default_factory=dict)


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
    played = Played()
    network = SimulatedNetwork(scene.folder / UPLOADS)
    monitor = EdgeMonitor(config=scene.config)

    def hear(event: Event) -> None:
        played.heard.append((time.time(), event))
        screen.heard(played, event)

    def look(now: float) -> None:
        played.looks.append(_look(monitor, played, network))
        screen.look(played, played.looks[-1])

    monitor.on_event(hear, "info")
    watcher = Worker("demo", look, LOOK_SECONDS)
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
    for row in range(scene.script.rows):
        wait = began + row * pause - perf_counter()
        if wait > 0 or row % BUSY_ROWS == 0:
            time.sleep(max(wait, 0))
        if acts and acts[0].row == row:
            act = acts.popleft()
            _do(act, network)
            played.acts[act.name] = time.time()
            screen.act(played, act)
        played.times.append(time.time())
        played.answers.append(answer(scene.live.row(row), played, row))
        played.rows = row + 1
    played.seconds = perf_counter() - began


def _do(act: Act, network: SimulatedNetwork) -> None:
    if act.name.startswith("network"):
        network.gone = act.name == "network_gone"


class _Timed:
    """The watched model, with what the monitor's share of each call takes.

    The floor is the least that recording can cost: encoding inputs and outputs, and keeping the bytes. It
    is measured in turns before and after the call, so that neither always finds the caches warm.
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
        before = row % 2 == 0 and row > 0
        if before:
            played.floors.append(self._floor())
        began = perf_counter()
        answer = self.predict(reading)
        played.calls.append(perf_counter() - began - self.own)
        self.last = (reading, answer)
        if not before:
            played.floors.append(self._floor())
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
