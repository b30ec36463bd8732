"""`status`: the state once, for people on 80 columns and for programs."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_mlops_monitor.cli.mistakes import FAILED
from edge_mlops_monitor.cli.options import config_option, json_option, load, open_store
from edge_mlops_monitor.cli.output import clock_time, duration, feature_name, number, print_json, rows, say
from edge_mlops_monitor.cli.performance import performance_told

if TYPE_CHECKING:
    from edge_mlops_monitor.config import Config

SHOWN_EVENTS = 5
SCANNED_EVENTS = 2000  # how far back is looked for them, so that the answer stays quick
STORED = {
    "prediction_count": "predictions",
    "system_metrics_count": "device measurements",
    "drift_results_count": "drift results",
    "event_count": "events",
    "actual_count": "actuals",
    "profile_count": "profiles",
}
SHOWN_FEATURES = 8
STATES = {
    "alarm": "in alarm",
    "stuck": "stuck",
    "warning": "warning",
    "not_enough_reference": "without enough reference",
    "learning": "learning",
    "not_enough_data": "without enough data yet",
    "fine": "fine",
}
ROLES = {"system": "measures", "decide": "decides", "upload": "uploads"}


@click.command()
@config_option
@json_option
def status(config_path: Path | None, as_json: bool) -> int:
    """Show what is stored, lost, uploaded and found."""
    from edge_mlops_monitor.status import read_status

    config = load(config_path)
    state = read_status(config)
    if not state["database"]["exists"] and not as_json:
        raise click.ClickException(state["database"]["problem"])
    exists = state["database"]["exists"]
    state["recent_events"] = _recent(config) if exists else []
    if as_json:
        print_json(state)
    else:
        say(_drawn(state, config, time.time()))
    return 0 if exists else FAILED


def _recent(config: Config) -> list[dict[str, Any]]:
    """The newest events that somebody should see, newest first."""
    store = open_store(config)
    try:
        newest = islice(store.newest("events", limit=SCANNED_EVENTS), SCANNED_EVENTS)
        serious = (event.to_dict() for event in newest if getattr(event, "severity", "info") != "info")
        return list(islice(serious, SHOWN_EVENTS))
    finally:
        store.close()


def _drawn(state: dict[str, Any], config: Config, now: float) -> str:
    database = state["database"]
    share = f"{database['bytes'] / (1 << 20):.1f} of at most {database['max_bytes'] / (1 << 20):.0f} MB"
    lines = [
        ("device", f"{state['device_id']}, generation {state['generation']}"),
        ("config", str(config.path) if config.path else "none, so the defaults count"),
        ("database", f"{database['path']}, {share}"),
        ("stored", _stored(state)),
        ("lost", _counted(state["dropped"]) or "nothing"),
        ("at work", _at_work(state["processes"])),
    ]
    lines.append(("features", _feature_counts(state["features"])))
    lines += [(f"sink {name}", _sink(sink, now)) for name, sink in state["sinks"].items()]
    if not state["sinks"]:
        lines.append(("sinks", "none, so everything stays on the device"))
    parts = [
        rows(lines),
        _features(state["features"]),
        performance_told(state["performance"]),
        _events(state["recent_events"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _stored(state: dict[str, Any]) -> str:
    """The kinds that there are any of, in words."""
    found = [(state[key], noun) for key, noun in STORED.items() if state[key]]
    return ", ".join(f"{number(n)} {noun if n != 1 else noun[:-1]}" for n, noun in found) or "nothing yet"


def _feature_counts(features: list[dict[str, Any]]) -> str:
    """How many are in each state, the worst first."""
    states = [feature["state"] for feature in features]
    found = [f"{states.count(state)} {words}" for state, words in STATES.items() if state in states]
    return ", ".join(found) or "none decided about yet"


def _features(features: list[dict[str, Any]]) -> str:
    """The features that are not fine, each with what explains it."""
    lines = []
    for state, words in STATES.items():
        for feature in features:
            if feature["state"] == state and state != "fine":
                lines.append((_name(feature), f"{words}{_fault(feature)}{_why(feature)}"))
    if len(lines) > SHOWN_FEATURES:
        more = len(lines) - SHOWN_FEATURES
        lines = [*lines[:SHOWN_FEATURES], (f"and {more} more", "see status --json")]
    return "Features that are not fine\n" + rows(lines, indent=2) if lines else ""


def _name(feature: dict[str, Any]) -> str:
    return feature_name(*(feature[part] for part in ("model", "model_version", "source", "feature")))


def _fault(feature: dict[str, Any]) -> str:
    """What is wrong, where it is not that the data have drifted or that the state says so already."""
    fault = str(feature.get("type", "drift"))
    return "" if fault in ("drift", feature["state"]) else f" ({fault.replace('_', ' ')})"


def _why(feature: dict[str, Any]) -> str:
    if feature.get("missing"):
        learning = feature["state"] == "learning"
        return f", {feature['missing']} to go" if learning else f": {feature['missing']}"
    since = feature.get("since")
    text = f" since {clock_time(since)}" if isinstance(since, (int, float)) else ""
    return f"{text} (acknowledged)" if feature.get("acknowledged") else text


def _counted(losses: dict[str, int]) -> str:
    return ", ".join(f"{reason.replace('_', ' ')} {number(count)}" for reason, count in losses.items())


def _at_work(processes: dict[str, int]) -> str:
    if not processes:
        return "nobody: start it with edge-mlops-monitor run, or in the model's program"
    return ", ".join(f"process {pid} {ROLES.get(role, role)}" for role, pid in sorted(processes.items()))


def _sink(sink: dict[str, Any], now: float) -> str:
    waiting = f"{number(sink['pending'])} objects wait" if sink["pending"] else "nothing waits"
    sent = f"{number(sink.get('records', 0))} records sent" if sink.get("records") else "nothing sent yet"
    if sink["last_upload"]:
        sent += f", the last {duration(max(0.0, now - sink['last_upload']))} ago"
    text = f"{waiting}; {sent}"
    if sink.get("dead_letters"):
        text += f"; {number(sink['dead_letters'])} objects refused for ever"
    if sink["last_error"]:
        text += f"; {'refused' if sink.get('refused') else 'last error'}: {sink['last_error']}"
    return text


def _events(events: list[dict[str, Any]]) -> str:
    if not events:
        return "No alarm and no warning."
    return "Last alarms and warnings\n" + rows(
        [(f"{clock_time(event['ts'])} {event['severity']:8}", event["message"]) for event in events], indent=2
    )
