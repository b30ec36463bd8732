"""What happens in the demo, and at which prediction."""

from __future__ import annotations

import msgspec

LEAST_ROWS = 6000  # a shorter demo answers faster instead, so that there is enough to decide on
RATE = 300.0  # predictions a second
STUCK_SENSOR, SHIFTED_SENSOR = "temperature_c", "pressure_bar"
SHIFT = 0.5  # in standard deviations of the healthy sensor


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """Rows in all, rows a second, and the first row of each thing that is done to the pump or its network."""

    rows: int
    rate: float
    sticks: int
    moves: int
    network_gone: int
    shifts: int
    network_back: int

    @property
    def pace(self) -> float:
        """Seconds between two uploads: many within the outage, however short the demo."""
        return min(1.0, self.rows / self.rate / 20)

    def acts(self) -> list[Act]:
        """What is done, in order."""
        return [
            Act(self.sticks, "sticks", f"{STUCK_SENSOR} sticks"),
            Act(self.moves, "moves", f"{STUCK_SENSOR} moves"),
            Act(self.network_gone, "network_gone", "network is gone"),
            Act(self.shifts, "shifts", f"{SHIFTED_SENSOR} {SHIFT:+g} sd"),
            Act(self.network_back, "network_back", "network is back"),
        ]


class Act(msgspec.Struct, frozen=True):
    """One thing that is done before prediction `row`."""

    row: int
    name: str
    words: str


def script(seconds: float) -> Script:
    """The demo for so many seconds.

    >>> script(40).rows, script(5).rate
    (12000, 1200.0)
    """
    rows = max(LEAST_ROWS, round(seconds * RATE))
    return Script(
        rows=rows,
        rate=rows / seconds,
        sticks=round(0.15 * rows),
        moves=round(0.25 * rows),
        network_gone=round(0.40 * rows),
        shifts=round(0.50 * rows),
        network_back=round(0.70 * rows),
    )
