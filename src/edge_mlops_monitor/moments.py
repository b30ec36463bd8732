"""Points in time as users write them."""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone
from typing import Any

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)\Z")


def unix_seconds(when: Any) -> float:
    """Unix seconds of a point in time that a program logs: datetimes of all kinds, numbers, ISO 8601 texts.

    Raises some exception where it is none.

    >>> unix_seconds(datetime(1970, 1, 2, tzinfo=timezone.utc)), unix_seconds("1970-01-01T00:01:00Z")
    (86400.0, 60.0)
    """
    if hasattr(when, "timestamp"):  # datetime, pandas.Timestamp
        seconds = float(when.timestamp())
    elif isinstance(when, str):
        seconds = as_moment(when, now=math.nan) or 0.0
    elif getattr(getattr(when, "dtype", None), "kind", "") == "M":  # numpy.datetime64
        if when != when:
            raise ValueError("not a time")
        seconds = float(when.astype("datetime64[us]").astype("int64")) / 1e6
    else:
        seconds = float(when)
    if not math.isfinite(seconds):
        raise ValueError(f"{when!r} is no time")
    return seconds


def as_moment(when: datetime | float | str | None, now: float) -> float | None:
    """Unix seconds of a datetime (naive: local time), a number, "1h" (ago), or an ISO 8601 text.

    Raises ValueError in one sentence for anything else.

    >>> as_moment("90s", now=1000.0), as_moment(5, now=1000.0), as_moment("1970-01-01T00:01:00Z", now=0)
    (910.0, 5.0, 60.0)
    >>> as_moment("yesterday", now=1000.0)
    Traceback (most recent call last):
    ValueError: 'yesterday' is no time; write 2026-01-31, 2026-01-31T08:00:00Z, Unix seconds, or 90s, 15m, ...
    """
    if when is None:
        return None
    if isinstance(when, datetime):
        return when.timestamp()
    try:
        seconds = float(when)
        if math.isfinite(seconds):
            return seconds
    except (TypeError, ValueError):
        pass
    text = str(when).strip()
    ago = _AGO.match(text)
    if ago:
        return now - float(ago[1]) * _UNITS[ago[2]]
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(
            f"{text!r} is no time; write 2026-01-31, 2026-01-31T08:00:00Z, Unix seconds, or 90s, 15m, 1h, 7d "
            "for so long ago"
        ) from None
    if moment.tzinfo is None and len(text) == 10:
        moment = moment.replace(tzinfo=timezone.utc)  # a date is a UTC day, as in the keys of objects
    return moment.timestamp()
