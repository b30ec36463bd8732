"""What can be set about decisions; `monitor` and `replay` fill it, each from its own door."""

from __future__ import annotations

import msgspec

ALGORITHMS = ("e_detector", "ks_test")
SECONDS_PER_MONTH = 30 * 86400.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How decisions are made.

    `false_alarms_per_month` is the false-alarm budget of the whole device; `average_run_length`,
    predictions between false alarms of the whole device, takes its place where it is given.
    `minimum_effect` is in Cohen's w, which for a shift of a bell curve is about its size in standard
    deviations. `context` is what references that are learned depend on: `hour_of_day`, or a feature.
    An acknowledged alarm that is older than `rebaseline_after_hours` becomes the new normal (0: never).
    `threshold` and `check_frequency` belong to `ks_test`. `result_seconds` is the time between two results
    about every feature (replay asks for none). `share` says of which part of the
    budget the evidence is paid (see `budget.SHARES`).

    >>> Settings(average_run_length=5000).algorithm
    'e_detector'
    """

    algorithm: str = "e_detector"
    false_alarms_per_month: float = 1.0
    average_run_length: float | None = None
    threshold: float = 0.05
    check_frequency: int = 100
    learn_reference: int = 1000
    learn_reference_hours: float = 24.0
    context: str = ""
    rebaseline_after_hours: float = 0.0
    minimum_effect: float = 0.1
    maximum_features: int = 2000
    result_seconds: float = 3600.0
    share: str = "drift"
