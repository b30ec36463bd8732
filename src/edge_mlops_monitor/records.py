"""What flows through the monitor: one frozen class for each kind of record.

The fields every record carries (`ts`, `seq`, `generation`, ...) are filled by the store when it is
read; a record that is only on its way there has them at their defaults. `KINDS` names the kinds in
the spelling of object keys, commands and tables.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that every record carries.

    `ts` is Unix seconds, `seq` counts records of one kind from 1 within a `generation`, `boot_id`
    is the kernel's name of the boot, `clock_synced` says whether the wall clock was known to be
    right (None: unknown).
    """

    ts: float = 0.0
    seq: int = 0
    generation: str = ""
    boot_id: str = ""
    clock_synced: bool | None = None
    device_id: str = ""

    kind: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """The record as a plain dict, in the order of the fields.

        >>> Actual(prediction_id="p-1", actual=3).to_dict()["actual"]
        3
        """
        return {name: getattr(self, name) for name in self.__struct_fields__}


class Prediction(Record, frozen=True, kw_only=True):
    """One call of a model: what went in, what came out, how long it took, how it failed."""

    id: str = ""
    model: str | None = None
    model_version: str | None = None
    source: str | None = None
    inputs: Any = None
    outputs: Any = None
    latency_seconds: float | None = None
    error: str | None = None
    tags: dict[str, Any] | None = None

    kind: ClassVar[str] = "predictions"


class Actual(Record, frozen=True, kw_only=True):
    """The truth about a prediction, known later."""

    prediction_id: str = ""
    actual: Any = None

    kind: ClassVar[str] = "actuals"


class SystemMetric(Record, frozen=True, kw_only=True):
    """One measurement of the device, under its OpenTelemetry name; ratios are 0 to 1."""

    name: str = ""
    value: float = 0.0
    unit: str = ""
    attributes: dict[str, str] = {}  # msgspec copies it for each record

    kind: ClassVar[str] = "system"


class DriftResult(Record, frozen=True, kw_only=True):
    """The answer of one method about one feature (or, multivariate, about several).

    `statistic` is the method's own; `p_value` is None for a plain distance; `effect` is the size of
    the change in the unit that `data["effect_unit"]` names; `is_drift` is None where no threshold
    was given or there was not enough data to say.
    """

    feature: str = ""
    method: str = ""
    statistic: float | None = None
    p_value: float | None = None
    effect: float | None = None
    threshold: float | None = None
    is_drift: bool | None = None
    sample_size: int = 0
    model: str | None = None
    model_version: str | None = None
    source: str | None = None
    data: dict[str, Any] = {}

    kind: ClassVar[str] = "drift"


class Profile(Record, frozen=True, kw_only=True):
    """What many predictions said about one feature, in fixed size; made and merged by `profiles`.

    `ts` and `until` are the times of the first and the last prediction in it, `windows` how many windows
    of time were merged. The meaning of each field is in docs/object-schema.md.
    """

    feature: str = ""
    model: str | None = None
    model_version: str | None = None
    source: str | None = None
    version: int = 1
    until: float = 0.0
    windows: int = 1
    rows: int = 0
    missing: int = 0
    numbers: int = 0
    texts: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    sd: float | None = None
    exact_sum: str = "0p0"
    exact_squares: str = "0p0"
    reference: str = ""
    bins: list[str] = []
    bin_counts: list[int] = []
    reference_counts: list[int] = []
    bucket_width: float | None = None
    buckets: list[float] = []
    bucket_counts: list[int] = []
    labels: dict[str, list[int]] = {}
    label_table: list[int] = []

    kind: ClassVar[str] = "profiles"


SEVERITIES = ("info", "warning", "alarm", "critical")


class Event(Record, frozen=True, kw_only=True):
    """Something an operator should be able to see: an alarm, a recovery, a loss, a new generation.

    `severity` is one of `SEVERITIES`; `type` is a stable word for programs, `message` a sentence
    for people, `data` the figures behind it.
    """

    id: str = ""
    type: str = ""
    severity: str = "info"
    message: str = ""
    data: dict[str, Any] = {}

    kind: ClassVar[str] = "events"


KINDS: dict[str, type[Record]] = {
    cls.kind: cls for cls in (Prediction, Actual, SystemMetric, DriftResult, Profile, Event)
}
