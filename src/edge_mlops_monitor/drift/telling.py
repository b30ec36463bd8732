"""What is said about an array: one event in place of those about its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_mlops_monitor.drift import findings
from edge_mlops_monitor.drift.findings import Where, figure
from edge_mlops_monitor.features import array_of
from edge_mlops_monitor.quality.images import BLURRED, DARK, FROZEN, SHIFTED, Level, is_light
from edge_mlops_monitor.records import Event

# The type of an alarm: what is said, the field that shows it, and what is said when it is over.
WORDS = {
    DARK: ("is dark", "mean", "is no longer dark"),
    FROZEN: ("is frozen", "fingerprint", "moves again"),
    BLURRED: ("is blurred", "sharpness", "is sharp again"),
    SHIFTED: ("has a shifted histogram", "mean", "has its usual histogram again"),
}
Figures = tuple[dict[str, Any], str]  # of the event's data, and as words


def alarm(type: str, where: Where, events: Sequence[Event], levels: Mapping[str, Level]) -> Event:
    """The event about the array `where`, of whose features `events` are, and whose fields are at `levels`."""
    if type not in WORDS:
        return _plainly(where, events, levels)
    shown_by = _shown_by(type, levels)
    own = [event for event in events if event.data["feature"] == f"{where.feature}.{shown_by}"]
    first = min(own or events, key=lambda event: float(event.data["since"]))
    since = {name: first.data[name] for name in ("method", "since", "since_index")}
    numbers, words = _repeats(first) if type == FROZEN else _moved(shown_by, levels[shown_by])
    clock = findings.clock(since["since"], since["since_index"])
    message = f"{where.subject} {WORDS[type][0]} since {clock} ({words})"
    data = {**since, **numbers, "drivers": _drivers(where.feature, events, levels)}
    return findings.event(type, "alarm", where, message, data)


def named_by(type: str) -> list[str]:
    """The field that an alarm is named by, if there is one."""
    return [WORDS[type][1]] if type in WORDS else []


def words_when_over(type: str, recovery: Event) -> str:
    """What is said of an array when the last of its features is back."""
    return WORDS[type][2] if type in WORDS else _words(recovery)


def _shown_by(type: str, levels: Mapping[str, Level]) -> str:
    """The field by which the cause is shown; of light the mean, or what moved most where it did not."""
    field = WORDS[type][1]
    if field != "mean" or ("mean" in levels and levels["mean"].outside):
        return field
    return max(filter(is_light, levels), key=lambda field: abs(levels[field].moved))


def _repeats(stuck: Event) -> Figures:
    run, longest = stuck.data["effect"], stuck.data["longest_run"]
    numbers = {"effect": run, "effect_unit": "identical frames"}
    return numbers, f"{run:.0f} identical frames; the longest run of the reference is {longest}"


def _moved(field: str, level: Level) -> Figures:
    numbers: dict[str, Any] = {"effect": level.moved, "effect_unit": "reference sd"}
    numbers |= {"before": {field: level.usual}, "after": {field: level.now}}
    return numbers, f"{field} {figure(level.usual)} -> {figure(level.now)}"


def _plainly(where: Where, events: Sequence[Event], levels: Mapping[str, Level]) -> Event:
    """The event about the feature that moved most, told about the array; the other features are named."""
    leading = max(events, key=lambda event: abs(event.data["effect"] or 0.0))
    others = [array_of(event.data["feature"])[1] for event in events if event is not leading]
    message = f"{where.subject}: {array_of(leading.data['feature'])[1]} {_words(leading)}"
    message += f"; also {', '.join(others)}" if others else ""
    data = {name: value for name, value in leading.data.items() if name != "feature"}
    data["drivers"] = _drivers(where.feature, events, levels)
    return findings.event(leading.type, "alarm", where, message, data)


def _drivers(array: str, events: Sequence[Event], levels: Mapping[str, Level]) -> list[dict[str, Any]]:
    """The features that show it: those that raised the alarm, then those where they hardly ever are."""
    wanted = ("feature", "effect", "effect_unit")
    raised = [{name: event.data.get(name) for name in wanted} for event in events]
    known = {driver["feature"] for driver in raised}
    beside = [
        {"feature": f"{array}.{field}", "effect": level.moved, "effect_unit": "reference sd"}
        for field, level in levels.items()
        if level.outside and f"{array}.{field}" not in known
    ]
    return _by_size(raised) + _by_size(beside)


def _by_size(drivers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(drivers, key=lambda driver: -abs(driver["effect"] or 0.0))


def _words(event: Event) -> str:
    """What the event says, without whom it is about."""
    data = event.data
    stream = (data["model"], data["model_version"], data["source"])
    return event.message.removeprefix(Where(stream, data["feature"], 0, 0.0).subject).strip()
