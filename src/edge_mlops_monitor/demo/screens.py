"""Whoever watches the demo: a person at a terminal, a log file, or nobody."""

from __future__ import annotations

import threading
import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from edge_mlops_monitor.cli.output import number
from edge_mlops_monitor.demo.chart import COLOURS, Chart, names
from edge_mlops_monitor.demo.play import Look, Played
from edge_mlops_monitor.demo.pump import FLOW
from edge_mlops_monitor.demo.scene import Scene
from edge_mlops_monitor.demo.script import Act
from edge_mlops_monitor.records import Event

FIRST_COLUMNS = 37  # of the live table, beside the chart
NEWS = 6  # last events that are shown
STYLES = {"alarm": "bold red", "critical": "bold red", "warning": "yellow", "info": "green"}


def choose(console: Console, scene: Scene, *, silent: bool) -> Nobody:
    """The screen for this output."""
    if silent:
        return Nobody()
    if not console.is_terminal:
        return LogLines(console)
    return LivePanel(console, scene)


class Nobody:
    """Shows nothing: for --json."""

    def __enter__(self) -> Nobody:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def act(self, played: Played, act: Act) -> None:
        """Nothing to see."""

    def heard(self, played: Played, event: Event) -> None:
        """Nothing to see."""

    def look(self, played: Played, look: Look) -> None:
        """Nothing to see."""


class LogLines(Nobody):
    """A line for each thing that happens: for output that is not a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def act(self, played: Played, act: Act) -> None:
        """What was done to the pump or its network."""
        self._say(played, "injected", act.words)

    def heard(self, played: Played, event: Event) -> None:
        """What the monitor reported."""
        self._say(played, "reported", event.message)

    def _say(self, played: Played, who: str, what: str) -> None:
        seconds = time.time() - played.began if played.began else 0.0
        line = f"{seconds:5.1f} s  prediction {number(played.rows):>7}  {who}: {what}"
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)


class LivePanel(Nobody):
    """A panel that is drawn anew twice a second."""

    def __init__(self, console: Console, scene: Scene) -> None:
        self.console, self.scene = console, scene
        self.chart = Chart(scene, max(16, min(72, console.width - FIRST_COLUMNS - 6)))
        self.news: list[tuple[float, str, str, str]] = []
        self._lock = threading.Lock()
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> LivePanel:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def act(self, played: Played, act: Act) -> None:
        """What was done to the pump or its network."""
        with self._lock:
            self.news.append((time.time() - played.began, "injected", act.words, "magenta"))

    def heard(self, played: Played, event: Event) -> None:
        """What the monitor reported."""
        with self._lock:
            self.news.append(
                (time.time() - played.began, "reported", event.message, STYLES.get(event.severity, ""))
            )

    def look(self, played: Played, look: Look) -> None:
        """Draw it."""
        self._live.update(self.picture(played, look), refresh=True)

    def picture(self, played: Played, look: Look) -> RenderableType:
        """The panel as it is now."""
        whole = Group(
            _headline(self.scene, played),
            Text(),
            self._table(played, look),
            Text(),
            self._events(),
        )
        title = "[bold]Edge MLOps Monitor[/]  pump and network simulated, model and monitor real"
        return Panel(whole, title=title, title_align="left", border_style="blue", padding=(0, 1))

    def _table(self, played: Played, look: Look) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
        table.add_column("", no_wrap=True, min_width=14)
        table.add_column("now", justify="right", no_wrap=True, min_width=8)
        table.add_column("monitor", no_wrap=True, min_width=7)
        table.add_column(self.chart.axis(), no_wrap=True, min_width=self.chart.columns)
        row = max(0, played.rows - 1)
        for name in names():
            value = f"{self.scene.live.sensors[name][row]:.1f}"
            line = self.chart.sensor(name, played)
            table.add_row(name, value, _state(look.states.get(f"inputs.{name}")), line)
        answer = f"{played.answers[row]:.1f}"
        table.add_row(
            f"{FLOW} *", answer, _state(look.states.get(f"outputs.{FLOW}")), self.chart.answers(played)
        )
        gone = Text("gone", "bold red") if look.gone else Text("up", "green")
        table.add_row("network", "", gone, self.chart.network(played))
        table.add_row(
            "not uploaded", number(look.waiting), Text("records", "dim"), self.chart.waiting(played)
        )
        return table

    def _events(self) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column()
        with self._lock:
            latest = self.news[-NEWS:]
        for seconds, who, what, style in latest:
            table.add_row(Text(f"{max(0.0, seconds):.1f} s", "dim"), Text(who, style), what)
        return table


def _headline(scene: Scene, played: Played) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    seconds = max(time.time() - played.began, 0.1) if played.began else 0.1
    rate = 0.0 if not played.rows else played.rows / seconds
    table.add_row(
        ProgressBar(total=scene.script.rows, completed=played.rows, width=24),
        f"{number(played.rows)} predictions",
        f"{rate:.0f} a second",
        Text(f"* model, R² {scene.explained:.2f}", "dim"),
    )
    return table


def _state(state: str | None) -> Text:
    return Text(state or "", COLOURS.get(state or "", ""))
