"""The run as lines of characters on one axis of time: each sensor, the answers, the network, what waits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.text import Text

from edge_mlops_monitor.demo.play import Played
from edge_mlops_monitor.demo.pump import FLOW, SENSORS
from edge_mlops_monitor.demo.scene import Scene

BARS = "▁▂▃▄▅▆▇█"
REACH = 0.8  # standard deviations from the middle to the edge of a line
COLOURS = {"alarm": "bold red", "stuck": "bold red", "warning": "yellow", "fine": "green"}


class Chart:
    """`columns` characters for the whole run; what has not happened yet is blank."""

    def __init__(self, scene: Scene, columns: int) -> None:
        self.scene = scene
        self.columns = columns
        self._edges = np.linspace(0, scene.script.rows, columns + 1).astype(int)

    def sensor(self, name: str, played: Played) -> Text:
        """Means of the readings around the healthy mean, red where they were spoilt."""
        mean, sd = self.scene.healthy[f"inputs.{name}"]
        return self._line(self.scene.live.sensors[name][: played.rows], mean, sd)

    def answers(self, played: Played) -> Text:
        """The model's answers around those of the training."""
        mean, sd = self.scene.healthy[f"outputs.{FLOW}"]
        return self._line(played.answers[: played.rows], mean, sd)

    def network(self, played: Played) -> Text:
        """A line, broken while the network was gone."""
        text = Text()
        first, last = (played.acts.get(f"network_{name}", (played.rows, 0.0))[0] for name in ("gone", "back"))
        for begin in self._begins(played.rows):
            gone = first <= begin < last
            text.append("╌" if gone else "━", "bold red" if gone else "green")
        return text

    def waiting(self, played: Played) -> Text:
        """How many records waited, in relation to the most that ever did."""
        rows = np.array([look.row for look in played.looks])
        counts = np.array([look.waiting for look in played.looks])
        most = max(counts, default=0)
        text = Text()
        for begin in self._begins(played.rows):
            seen = np.flatnonzero(rows <= begin)
            text.append(_bar(counts[seen[-1]] / most if len(seen) and most else 0.0), "cyan")
        return text

    def marks(self, rows: Sequence[int], mark: str, style: str) -> Text:
        """`mark` at each of these rows."""
        places = {min(int(np.searchsorted(self._edges, row, side="right")), self.columns) - 1 for row in rows}
        text = Text()
        for place in range(self.columns):
            text.append(*((mark, style) if place in places else (" ", None)))
        return text

    def axis(self) -> Text:
        """Seconds, from the left to the right."""
        end = f"{self.scene.script.rows / self.scene.script.rate:.0f} s"
        return Text("0 s".ljust(self.columns - len(end)) + end, "dim")

    def _begins(self, rows: int) -> list[int]:
        """The first rows of the characters whose rows have all been answered."""
        return [begin for begin, end in zip(self._edges, self._edges[1:], strict=False) if end <= rows]

    def _line(self, values: np.ndarray[tuple[int], np.dtype[np.float64]], mean: float, sd: float) -> Text:
        text = Text()
        for index, begin in enumerate(self._begins(len(values))):
            part = values[begin : self._edges[index + 1]]
            stuck = len(part) > 1 and bool((part == part[0]).all())
            place = (float(part.mean()) - mean) / sd / REACH / 2 + 0.5
            text.append(_bar(place), "red" if stuck else "")
        return text


def _bar(share: float) -> str:
    return BARS[max(0, min(len(BARS) - 1, int(share * len(BARS))))]


def names() -> list[str]:
    """The sensors, in the order in which they are shown."""
    return list(SENSORS)
