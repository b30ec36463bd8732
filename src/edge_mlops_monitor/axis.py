"""The horizontal axis of a picture over time or rows: where its ticks are and what they say."""

from __future__ import annotations

import math
from datetime import datetime, timezone

MOST_TICKS = 8
MINUTE, HOUR, DAY = 60, 3600, 86400
STEPS = [1, 2, 5, 10, 15, 30]
STEPS += [MINUTE * step for step in STEPS] + [HOUR * step for step in (1, 2, 3, 6, 12)]
STEPS += [DAY * step for step in (1, 2, 7, 14, 30, 60, 90, 180, 365)]


def row_ticks(last: int) -> list[tuple[float, str]]:
    """Places and texts for rows 0 to `last`, at multiples of 1, 2 or 5 times a power of ten.

    >>> row_ticks(1000)
    [(0, '0'), (200, '200'), (400, '400'), (600, '600'), (800, '800'), (1000, '1 000')]
    """
    rough = max(last / MOST_TICKS, 1)
    power = 10 ** math.floor(math.log10(rough))
    step = int(next(power * step for step in (1, 2, 5, 10) if power * step >= rough))
    return [(row, f"{row:,}".replace(",", " ")) for row in range(0, last + 1, step)]


def time_ticks(first: float, last: float) -> list[tuple[float, str]]:
    """Places in Unix seconds and texts in UTC; a new day is named where the ticks are within days.

    >>> time_ticks(0.0, 86400.0)[:3], time_ticks(0.0, 5 * 86400.0)[1]
    ([(0, '1970-01-01'), (10800, '03:00'), (21600, '06:00')], (86400, '1970-01-02'))
    """
    rough = (last - first) / MOST_TICKS
    step = next((step for step in STEPS if step >= rough), 365 * DAY * math.ceil(rough / (365 * DAY)))
    ticks: list[tuple[float, str]] = []
    for place in range(math.ceil(first / step) * step, math.floor(last) + 1, step):
        moment = datetime.fromtimestamp(place, timezone.utc)
        of_day = "%H:%M" if step >= MINUTE else "%H:%M:%S"
        ticks.append((place, moment.strftime("%Y-%m-%d" if place % DAY == 0 else of_day)))
    return ticks
