"""What flows through the monitor: one frozen class for each kind of record.

The fields every record carries (`ts`, `seq`, `generation`, ...) are filled by the store when it is
read; a record that is only on its way there has them at their defaults. `KINDS` names the kinds in
the spelling of object keys, commands and tables. What is said below a field stands in the reference
of Python and in that of the objects in the bucket (`docs/tables.py`); None is null there.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec


class Record(msgspec.Struct, frozen=True):
    """The fields that every record carries."""

    ts: float = 0.0
    """When it happened, in Unix seconds."""
    seq: int = 0
    """Its number: counts from 1 within device, generation and kind."""
    generation: str = ""
    """Number and random part of the generation: `00003.9f1c22aa`."""
    boot_id: str = ""
    """The kernel's id of the boot."""
    clock_synced: bool | None = None
    """Whether the device's clock was known to be right; null: unknown."""
    device_id: str = ""
    """The device."""

    kind: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """The record as a plain dict, in the order of the fields.

        >>> Actual(prediction_id="p-1", actual=3).to_dict()["actual"]
        3
        """
        return {name: getattr(self, name) for name in self.__struct_fields__}


class Prediction(Record, frozen=True):
    """One call of a model: what went in, what came out, how long it took, how it failed."""

    id: str = ""
    """Its name, by which labels find it: the caller's, or one of the device's own."""
    model: str | None = None
    """The model, as the program calls it."""
    model_version: str | None = None
    """Its version."""
    source: str | None = None
    """What the data come from: a camera, a line."""
    inputs: Any = None
    """What the model was asked, as logged, after redaction."""
    outputs: Any = None
    """What it answered, likewise."""
    latency_seconds: float | None = None
    """What the call took."""
    error: str | None = None
    """Type of the exception that ended the call; with `store_error_text` its text too."""
    tags: dict[str, Any] | None = None
    """What the program wanted to be kept with it."""

    kind: ClassVar[str] = "predictions"


class Actual(Record, frozen=True):
    """The truth about a prediction, known later."""

    prediction_id: str = ""
    """`id` of the prediction."""
    actual: Any = None
    """What was right."""

    kind: ClassVar[str] = "actuals"


class SystemMetric(Record, frozen=True):
    """One measurement of the device, under its OpenTelemetry name; ratios are 0 to 1."""

    name: str = ""
    """OpenTelemetry's name of the metric."""
    value: float = 0.0
    """The measurement; ratios are 0 to 1."""
    unit: str = ""
    """Its unit, in UCUM's spelling: `By`, `Cel`, `s`, `1`."""
    attributes: dict[str, str] = {}  # msgspec copies it for each record
    """What tells series of one name apart: the core, the disk, the state."""

    kind: ClassVar[str] = "system"


class DriftResult(Record, frozen=True):
    """The answer of one method about one feature (or, multivariate, about several)."""

    feature: str = ""
    """The feature; of a multivariate method what it was asked about."""
    method: str = ""
    """The method's name."""
    statistic: float | None = None
    """The method's own statistic."""
    p_value: float | None = None
    """Its p-value; null for a plain distance."""
    effect: float | None = None
    """The size of the change, in the unit that `data.effect_unit` names."""
    threshold: float | None = None
    """What the statistic or the p-value was compared with."""
    is_drift: bool | None = None
    """The answer; null where no threshold was given or there was not enough data to say."""
    sample_size: int = 0
    """Rows that were looked at."""
    model: str | None = None
    """As of the predictions."""
    model_version: str | None = None
    """As of the predictions."""
    source: str | None = None
    """As of the predictions."""
    data: dict[str, Any] = {}
    """More figures behind the answer, by the method."""

    kind: ClassVar[str] = "drift"


class Profile(Record, frozen=True):
    """What many predictions said about one feature, in fixed size; made and merged by `profiles`."""

    feature: str = ""
    """The feature."""
    model: str | None = None
    """As of the predictions."""
    model_version: str | None = None
    """As of the predictions."""
    source: str | None = None
    """As of the predictions."""
    version: int = 1
    """Of these fields and their meaning."""
    until: float = 0.0
    """Time of the last prediction in it, in Unix seconds; `ts` is that of the first."""
    windows: int = 1
    """How many windows of time were merged into it."""
    rows: int = 0
    """Predictions in it."""
    missing: int = 0
    """Those in which the feature was missing."""
    numbers: int = 0
    """Those in which it was a number."""
    texts: int = 0
    """Those in which it was a text."""
    minimum: float | None = None
    """Least number; null without any."""
    maximum: float | None = None
    """Largest number."""
    mean: float | None = None
    """Mean of the numbers."""
    sd: float | None = None
    """Standard deviation of the numbers."""
    exact_sum: str = "0p0"
    """Sum of the numbers without rounding: hexadecimal integer, `p`, power of two."""
    exact_squares: str = "0p0"
    """Sum of their squares, written likewise."""
    reference: str = ""
    """Which reference the bins are of; empty where there was none, or several."""
    bins: list[str] = []
    """What each bin holds."""
    bin_counts: list[int] = []
    """Rows in each bin."""
    reference_counts: list[int] = []
    """Rows of the reference in each bin."""
    bucket_width: float | None = None
    """The quantile sketch: width of a bucket."""
    buckets: list[float] = []
    """Lower edges of the buckets that hold anything."""
    bucket_counts: list[int] = []
    """Numbers in each of them."""
    labels: dict[str, list[int]] = {}
    """For each frequent text its rows, and the most in one window."""
    label_table: list[int] = []
    """Empty while all labels are named and exact; else the count-min table that `labels` is read from."""

    kind: ClassVar[str] = "profiles"


SEVERITIES = ("info", "warning", "alarm", "critical")


class Event(Record, frozen=True):
    """Something an operator should be able to see: an alarm, a recovery, a loss, a new generation."""

    id: str = ""
    """Its name, for `acknowledge`."""
    type: str = ""
    """A stable word for programs."""
    severity: str = "info"
    """`info`, `warning`, `alarm` or `critical`."""
    message: str = ""
    """A sentence for people."""
    data: dict[str, Any] = {}
    """The figures behind it, by type."""

    kind: ClassVar[str] = "events"


KINDS: dict[str, type[Record]] = {
    cls.kind: cls for cls in (Prediction, Actual, SystemMetric, DriftResult, Profile, Event)
}
