"""What can be expected of a reference and a budget: the smallest shifts that would be found, and how soon."""

from __future__ import annotations

from typing import Any

from edge_mlops_monitor.drift.detectable import share_of_a_row, smallest_shifts
from edge_mlops_monitor.drift.findings import scale_of
from edge_mlops_monitor.drift.reference import FeatureReference
from edge_mlops_monitor.drift.settings import SECONDS_PER_MONTH, Settings
from edge_mlops_monitor.drift.watcher import Watcher

MOST_FEATURES = 100  # that are answered for
ROWS = 1000  # where there are no times, the horizon in place of an hour and a day


def recommendation(watcher: Watcher, settings: Settings, hours: float | None) -> dict[str, Any] | None:
    """The smallest shifts to expect to find within an hour, a day, and the time of one false alarm.

    `hours` is how long the watcher's rows took; without it the horizons are in predictions. `features`
    holds, for each numeric feature that is watched, its `shifts` within each of the `horizons`: `sd` in
    reference standard deviations and `units` in the feature's own, None where none that is sensible is
    found. None under `ks_test`, and where nothing is watched.
    """
    if settings.algorithm == "ks_test":
        return None
    used = watcher.in_use()
    in_all = sum(map(len, used.values()))
    found: list[dict[str, Any]] = []
    horizons: list[dict[str, Any]] = []
    for stream, references in used.items():
        rate = watcher.rows(stream) / hours if hours else None
        horizons = _horizons(settings, rate)
        share = share_of_a_row(settings, rate)
        features = len(references) if settings.average_run_length is not None else in_all
        for name, reference in list(references.items())[: MOST_FEATURES - len(found)]:
            rows = [horizon["predictions"] for horizon in horizons]
            shifts = smallest_shifts(reference, rows, share, features, settings.minimum_effect)
            if reference.bins.ordered > 1:
                told = [_told(reference, shift) for shift in shifts]
                found.append({"feature": name, "source": stream[2], "shifts": told})
    return {"horizons": horizons, "features": found} if found else None


def _horizons(settings: Settings, rate: float | None) -> list[dict[str, Any]]:
    """Name, seconds and predictions of each; `rate` is in predictions an hour."""
    run_length = settings.average_run_length
    named: list[tuple[str, float | None, float]]
    if not rate:
        named = [("predictions", None, ROWS), ("budget", None, run_length or ROWS)]
    else:
        month = SECONDS_PER_MONTH / settings.false_alarms_per_month
        budget = month if run_length is None else run_length / rate * 3600
        named = [
            (name, s, rate * s / 3600) for name, s in (("hour", 3600), ("day", 86400), ("budget", budget))
        ]
    return [
        {"within": name, "seconds": seconds, "predictions": int(min(rows, 1e12))}
        for name, seconds, rows in named
    ]


def _told(reference: FeatureReference, shift: float | None) -> dict[str, float | None]:
    units = None if shift is None or reference.spread is None else shift * scale_of(reference)
    return {"sd": shift, "units": units}
