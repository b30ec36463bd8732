"""What came of it: each thing that was injected beside what the monitor reported, from its own records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_mlops_monitor.demo.arrived import Arrived, arrived
from edge_mlops_monitor.demo.play import Played
from edge_mlops_monitor.demo.pump import FLOW
from edge_mlops_monitor.demo.scene import UPLOADS, Scene
from edge_mlops_monitor.demo.script import SHIFT, SHIFTED_SENSOR, STUCK_SENSOR, Act
from edge_mlops_monitor.records import SEVERITIES, Event

ANSWER = f"outputs.{FLOW}"
AFTERMATH_ROWS = 500  # for so long after a fault its traces in the recent values may still raise an alarm


def outcome(scene: Scene, played: Played) -> dict[str, Any]:
    """The whole story as plain values; `ok` where it came out as it should."""
    there = arrived(scene.folder / UPLOADS)
    injected = [_told(act, scene, played) for act in scene.script.acts()]
    causes = {event.id: _cause(event, scene) for event in played.events if _is_trouble(event)}
    delivery = _delivery(scene, played, there)
    answer = {
        "seconds": played.seconds,
        "predictions": played.rows,
        "rate": played.rows / played.seconds,
        "model": _model(scene, played),
        "injected": injected,
        "events": [_reported(event, played, causes) for event in played.events],
        "alarms": len(causes),
        "false_alarms": sum(cause is None for cause in causes.values()),
        "false_alarms_per_month": scene.config.drift_detection.false_alarms_per_month,
        "delivery": delivery,
        "cost": _cost(played),
        "folder": str(scene.folder),
    }
    found = all(one["reported"] is not None for one in injected)
    return {"ok": found and answer["false_alarms"] == 0 and delivery["complete"], **answer}


def _told(act: Act, scene: Scene, played: Played) -> dict[str, Any]:
    find: dict[str, Callable[[], dict[str, Any] | None]] = {
        "sticks": lambda: _event(act, "stuck", STUCK_SENSOR, scene.script.moves, played),
        "moves": lambda: _event(act, "recovery", STUCK_SENSOR, scene.script.rows, played),
        "network_gone": lambda: _refusal(scene, played),
        "shifts": lambda: _event(act, "drift", SHIFTED_SENSOR, scene.script.rows, played),
        "network_back": lambda: _drained(played),
    }
    row, at = played.acts[act.name]
    return {
        "name": act.name,
        "what": act.words,
        "index": row,
        "ts": at,
        "seconds": at - played.began,
        "reported": find[act.name](),
    }


def _event(act: Act, type: str, sensor: str, before: int, played: Played) -> dict[str, Any] | None:
    """The monitor's first event of this type about the sensor, since the act."""
    for event in played.events:
        data = event.data
        if event.type == type and data["feature"] == f"inputs.{sensor}" and act.row <= data["row"] < before:
            heard = _heard(event, played)
            return {
                "event": event.id,
                "message": event.message,
                "index": data["row"],
                "delay_predictions": data["row"] - act.row,
                "delay_seconds": None if heard is None else heard - played.acts[act.name][1],
                "effect": data.get("effect"),
                "effect_unit": data.get("effect_unit"),
            }
    return None


def _heard(event: Event, played: Played) -> float | None:
    """When `on_event` was called with it."""
    return next((ts for ts, heard in played.heard if heard.id == event.id), None)


def _refusal(scene: Scene, played: Played) -> dict[str, Any] | None:
    """What `get_status()` said about the sink while the network was gone, and what waited at most."""
    gone = [look for look in played.looks if look.gone]
    failing = [look for look in gone if look.error]
    if not failing:
        return None
    return {
        "message": failing[0].error,
        "delay_seconds": failing[0].ts - played.acts["network_gone"][1],
        "waiting_records": max(look.waiting for look in gone),
        "waiting_objects": max(look.objects for look in gone),
        "uploaded_meanwhile": gone[-1].uploaded - failing[0].uploaded,
    }


def _drained(played: Played) -> dict[str, Any] | None:
    """The first look at which nothing sealed waited any more."""
    back = played.acts["network_back"][1]
    for look in played.looks:
        if look.ts > back and not look.objects and not look.error:
            return {"message": "everything that waited has been uploaded", "delay_seconds": look.ts - back}
    return None


def _is_trouble(event: Event) -> bool:
    return SEVERITIES.index(event.severity) >= SEVERITIES.index("warning")


def _cause(event: Event, scene: Scene) -> str | None:
    """Which injected fault explains an alarm; None makes it a false one.

    A fault of a sensor also changes the answers of the model that reads it.
    """
    acts = scene.script
    row, feature = event.data.get("row", -1), event.data.get("feature")
    if feature in (f"inputs.{STUCK_SENSOR}", ANSWER) and acts.sticks <= row < acts.moves + AFTERMATH_ROWS:
        return "sticks"
    if feature in (f"inputs.{SHIFTED_SENSOR}", ANSWER) and row >= acts.shifts:
        return "shifts"
    return None


def _reported(event: Event, played: Played, causes: dict[str, str | None]) -> dict[str, Any]:
    return {
        **{name: getattr(event, name) for name in ("id", "type", "severity", "message", "ts", "data")},
        "heard": _heard(event, played),
        "cause": causes.get(event.id),
    }


def _delivery(scene: Scene, played: Played, there: Arrived) -> dict[str, Any]:
    """What was stored, and what arrived, prediction for prediction."""
    status = played.status
    stored = {
        "predictions": status["prediction_count"],
        "system": status["system_metrics_count"],
        "drift": status["drift_results_count"],
        "events": status["event_count"],
    }
    as_answered = sum(
        record["inputs"] == scene.live.row(row) and record["outputs"] == {FLOW: played.answers[row]}
        for row, record in enumerate(there.predictions[: played.rows])
    )
    given_up = sum(status["dropped"].values()) + status["dead_letters"]
    whole = stored == {kind: there.records.get(kind, 0) for kind in stored}
    return {
        "stored": stored,
        "database_bytes": status["database"]["bytes"],
        "uploaded": there.records,
        "objects": there.objects,
        "bytes": there.bytes,
        "predictions_as_answered": as_answered,
        "twice": there.twice,
        "missing": there.missing,
        "given_up": given_up,
        "complete": whole
        and as_answered == played.rows == len(there.predictions)
        and not (there.twice or there.missing or given_up),
    }


def _model(scene: Scene, played: Played) -> dict[str, Any]:
    """How good the model is, and how wrong it was while the sensor read too much."""
    wrong = np.abs(played.answers - scene.live.flow)
    acts = scene.script
    return {
        "explained_variance": scene.explained,
        "mean_error_before": float(wrong[: acts.sticks].mean()),
        "mean_error_shifted": float(wrong[acts.shifts :].mean()),
        "unit": "l/min",
        "shift": SHIFT,
    }


def _cost(played: Played) -> dict[str, Any]:
    """Median and p99 of the monitor's share of a call and of the floor, in microseconds."""
    calls = np.percentile(np.array(played.calls), (50, 99)) * 1e6
    floor = np.percentile(np.array(played.floors), (50, 99)) * 1e6
    return {
        "calls": len(played.calls),
        "median_us": float(calls[0]),
        "p99_us": float(calls[1]),
        "floor_median_us": float(floor[0]),
        "floor_p99_us": float(floor[1]),
    }
