"""The smallest shifts to expect to find, as a table."""

from __future__ import annotations

from typing import Any

from edge_mlops_monitor.cli.output import duration, feature_name, number, table

MOST_LINES = 8


def recommended(found: dict[str, Any]) -> str:
    """The recommendation of a replay for people."""
    header = ["Smallest shift found in", *(_horizon(one) for one in found["horizons"])]
    lines = [
        [feature_name(one["source"], one["feature"], most=24), *(_shift(shift) for shift in one["shifts"])]
        for one in found["features"]
    ]
    more = len(lines) - MOST_LINES
    told = table(header, lines[:MOST_LINES])
    return told + (f"\nand of {number(more)} more features: --json" if more > 0 else "")


def _horizon(one: dict[str, Any]) -> str:
    if one["seconds"] is None:
        return f"{number(one['predictions'])} rows"
    return {"hour": "an hour", "day": "a day"}.get(one["within"]) or duration(one["seconds"])


def _shift(one: dict[str, float | None]) -> str:
    """In standard deviations, and in the units of the feature."""
    if one["sd"] is None:
        return "none"
    units = "" if one["units"] is None else f" = {one['units']:.2g}"
    return f"{one['sd']:.2f} sd{units}"
