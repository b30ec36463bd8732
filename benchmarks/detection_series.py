"""Published series with labelled changes, beside the project at ../shared/data: NAB and TCPD.

NAB's rule (Lavin and Ahmad, Evaluating real-time anomaly detection algorithms, 2015): a detection counts by
where it is in a labelled window, early ones more; outside it costs, the more the farther from the window
before.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CHANGE_POINTS = {1: 146, 2: 97, 3: 179, 4: 341, 5: None}  # quality_control_N of TCPD, as they were made
BEFOREHAND = 5000.0
BUDGETS = [10 ** (exponent / 2) for exponent in range(4, 13)]
TCPD_LEARNED = 100


class Weights(NamedTuple):
    """What a window found, a window missed and a false detection count."""

    found: float = 1.0
    missed: float = 1.0
    false: float = 0.11


PROFILES = {
    "standard": Weights(),
    "reward_low_FP_rate": Weights(false=0.22),
    "reward_low_FN_rate": Weights(missed=2.0),
}


def sigma(y: float) -> float:
    """NAB's scaled sigmoid of a place relative to a window."""
    return -1.0 if y > 3 else 2 / (1 + math.exp(5 * y)) - 1


def nab_score(
    rows: int, windows: Sequence[Sequence[int]], detections: Sequence[int], weights: Weights
) -> float:
    """The score of one file; `windows` are inclusive, detections in the probationary part are dropped.

    >>> nab_score(1000, [(500, 599)], [500], Weights())
    1.0
    >>> nab_score(1000, [(500, 599)], [200], Weights())
    -1.11
    """
    best = [-weights.missed] * len(windows)
    outside = 0.0
    for row in detections:
        if row < probation(rows):
            continue
        inside = next((i for i, (left, right) in enumerate(windows) if left <= row <= right), None)
        if inside is not None:
            left, right = windows[inside]
            value = weights.found * sigma(-(right - row + 1) / (right - left + 1)) / sigma(-1)
            best[inside] = max(best[inside], value)
            continue
        before = [window for window in windows if window[1] < row]
        place = (row - before[-1][1]) / (before[-1][1] - before[-1][0]) if before else math.inf
        outside += weights.false * sigma(place)
    return outside + sum(best)


def probation(rows: int) -> int:
    """The rows at the beginning that a detector may learn from."""
    return min(math.floor(0.15 * rows), 750)


class NabFile(NamedTuple):
    """One series of NAB with its labelled windows."""

    name: str
    ts: list[float]
    values: list[float]
    windows: list[list[int]]


def nab_files(data: Path = DATA) -> list[NabFile]:
    """The visible series."""
    found = []
    for entry in json.loads((data / "nab" / "index.json").read_text()):
        with open(data / "nab" / "data" / entry["file"], newline="") as lines:
            rows = list(csv.DictReader(lines))
        ts = [
            datetime.fromisoformat(row["timestamp"]).replace(tzinfo=timezone.utc).timestamp() for row in rows
        ]
        found.append(NabFile(entry["file"], ts, [float(row["value"]) for row in rows], entry["windows"]))
    return found


def normalised(score: float, files: Sequence[NabFile], weights: Weights) -> float:
    """100 for a perfect detector, 0 for one that never detects."""
    windows = sum(len(file.windows) for file in files)
    null = -weights.missed * windows
    return 100 * (score - null) / (weights.found * windows - null)


def published_nab(profile: str, data: Path = DATA) -> dict[str, dict[str, tuple[float, float]]]:
    """By detector and file: the published threshold and score."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for path in sorted((data / "nab" / "published_scores").glob(f"*__{profile}.csv")):
        with open(path, newline="") as lines:
            rows = list(csv.DictReader(lines))
        found[path.name.partition("__")[0]] = {
            row["File"]: (float(row["Threshold"]), float(row["Score"])) for row in rows
        }
    return found


def published_rows(detector: str, data: Path = DATA) -> Mapping[str, Any]:
    """By file: a detector's published score of each row."""
    path = data / "nab" / "scorer_check" / f"{detector}_anomaly_scores.json.gz"
    found: Mapping[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return found


def our_alarms(
    values: Sequence[float], ts: Sequence[float], learned: int, run_length: float
) -> list[dict[str, Any]]:
    """The alarms of a device that learns from the first rows of a series, and whether it decided at all."""
    from edge_mlops_monitor.drift.settings import Settings
    from edge_mlops_monitor.drift.watcher import Watcher
    from edge_mlops_monitor.records import Event

    settings = Settings(average_run_length=run_length, learn_reference=learned, learn_reference_hours=0)
    watcher, stream = Watcher(settings), ("series", None, None)
    found = watcher.update(stream, {"inputs.value": np.asarray(values)}, np.asarray(ts))
    alarms = [one.data for one in found if isinstance(one, Event) and one.severity == "alarm"]
    state = watcher.status()[stream]["inputs.value"]["state"]
    return [*alarms, {"silent": True}] if state in ("learning", "not_enough_reference") else alarms


def nab(run_length: float, data: Path = DATA) -> dict[str, dict[str, Any]]:
    """By file: our detections and whether there was not enough reference."""
    found = {}
    for file in nab_files(data):
        alarms = our_alarms(file.values, file.ts, probation(len(file.values)), run_length)
        rows = [alarm["row"] for alarm in alarms if "row" in alarm]
        found[file.name] = {"detections": rows, "silent": len(rows) < len(alarms)}
    return found


def nab_scores(pool: Any, data: Path = DATA) -> dict[str, Any]:
    """By profile: our score at the budget chosen beforehand and at the best one, and the published ones."""
    jobs = {length: pool.submit(nab, length, data) for length in (BEFOREHAND, *BUDGETS)}
    ours = {length: job.result() for length, job in jobs.items()}
    files = nab_files(data)
    found: dict[str, Any] = {
        "silent": sum(one["silent"] for one in ours[BEFOREHAND].values()),
        "files": len(files),
        "detections": {name: one["detections"] for name, one in ours[BEFOREHAND].items()},
        "profiles": {},
    }
    for profile, weights in PROFILES.items():
        scores = {
            length: sum(
                nab_score(len(file.values), file.windows, by_file[file.name]["detections"], weights)
                for file in files
            )
            for length, by_file in ours.items()
        }
        best = max(BUDGETS, key=lambda length: scores[length])
        board = {
            name: normalised(sum(by_file[file.name][1] for file in files), files, weights)
            for name, by_file in published_nab(profile, data).items()
        }
        found["profiles"][profile] = {
            "beforehand": normalised(scores[BEFOREHAND], files, weights),
            "best": normalised(scores[best], files, weights),
            "best_run_length": best,
            "published": board,
        }
    return found


def tcpd(run_length: float = BEFOREHAND, data: Path = DATA) -> list[dict[str, Any]]:
    """Our alarms on the quality-control series, beside the change that was made."""
    found = []
    for number, change in CHANGE_POINTS.items():
        text = (data / "tcpd" / "series" / f"quality_control_{number}.json").read_text()
        values = json.loads(text)["series"][0]["raw"]
        alarms = our_alarms(values, [0.0] * len(values), TCPD_LEARNED, run_length)
        rows = [alarm["row"] for alarm in alarms if "row" in alarm]
        hit = next((row for row in rows if change is not None and row >= change), None)
        found.append(
            {
                "series": number,
                "rows": len(values),
                "change": change,
                "alarms": rows,
                "since": [alarm.get("since_index") for alarm in alarms if "row" in alarm],
                "delay": None if hit is None or change is None else hit - change,
                "false": len(rows) - (hit is not None),
                "silent": len(rows) < len(alarms),
            }
        )
    return found


def published(pool: Any) -> dict[str, Any]:
    """What was found on both; empty where the data is absent."""
    if not DATA.is_dir():
        return {}
    return {"nab": nab_scores(pool), "tcpd": tcpd()}
