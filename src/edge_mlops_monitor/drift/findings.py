"""What the watcher says: results and events, with the size of a change in the user's units."""

from __future__ import annotations

import math
import random
from datetime import datetime, timezone
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.reference import FeatureReference, Stream
from edge_mlops_monitor.quality.sentences import Fault
from edge_mlops_monitor.records import DriftResult, Event

Floats = NDArray[np.float64]

REPLACED = "is over: another version has taken the model's place"  # of a model's alarms


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """How a feature differs from its reference: `effect` in `unit`, in words, before and after.

    `type` is what its alarm is called: `drift`, or `missing` or `unseen_category` where that is most of it.
    """

    effect: float
    unit: str
    words: str
    before: dict[str, Any]
    after: dict[str, Any]
    rows: int
    type: str = "drift"


class Where(msgspec.Struct, frozen=True):
    """Which feature of which stream a finding is about, and at which row and time it was made."""

    stream: Stream
    feature: str
    row: int
    ts: float

    @property
    def subject(self) -> str:
        """The feature as the subject of a sentence."""
        model, version, source = self.stream
        of = f" of {model}{f' {version}' if version else ''}" if model else ""
        return f"{f'{source} ' if source else ''}{self.feature}{of}"

    @property
    def names(self) -> dict[str, Any]:
        """The stream as fields of a record."""
        return dict(zip(("model", "model_version", "source"), self.stream, strict=True))


def change_of(
    reference: FeatureReference,
    shares: Floats,
    null: Floats,
    moments: Floats,
    rows: int,
    cause: str = "",
) -> Change:
    """The change from shares of cells `null` to `shares`, with the moments of the standardised values.

    `cause` is `missing` or `unseen_category` where the evidence is for that.
    """
    missing, before_missing = float(shares[-1]), float(null[-1])
    moved = np.abs(shares - null)
    most = 0.5 * moved.sum() / 2
    if moved[-1] > 0.02 and (cause == "missing" or moved[-1] > most):
        words = f"is missing in {missing:.0%} of rows ({before_missing:.0%} before)"
        return Change(
            effect=missing - before_missing,
            unit="share missing",
            words=words,
            before={"missing": before_missing},
            after={"missing": missing},
            rows=rows,
            type="missing",
        )
    if _is_unseen(reference, shares, moved, cause):
        unseen = reference.bins.unseen
        return _unseen(reference, float(shares[unseen]), float(null[unseen]), rows)
    if reference.numeric and _of_two(reference.bins.names) and not reference.only_rises:
        return _one_of_two(reference, shares, null, rows)
    if reference.numeric and moments[0] >= 1:
        return _numeric(reference, moved, moments, rows)
    return _category(reference, shares, null, moved, rows)


def _is_unseen(reference: FeatureReference, shares: Floats, moved: Floats, cause: str) -> bool:
    """Whether values that the reference has not are most of the change.

    Numbers most of which are new have moved elsewhere, which is drift.
    """
    unseen = reference.bins.unseen
    if unseen is None or moved[unseen] <= 0.02 or reference.only_rises:  # a first mistake is a rise
        return False
    if cause != "unseen_category" and moved[unseen] <= 0.5 * moved.sum() / 2:
        return False
    return not reference.numeric or bool(shares[unseen] < 0.5)


def _unseen(reference: FeatureReference, share: float, before: float, rows: int) -> Change:
    what = "values" if reference.numeric else "categories"
    return Change(
        effect=share - before,
        unit="share unseen",
        words=f"holds unseen {what} in {share:.0%} of rows ({before:.0%} before)",
        before={"unseen": before},
        after={"unseen": share},
        rows=rows,
        type="unseen_category",
    )


def _of_two(names: list[str]) -> bool:
    return len(names) == 4 and names[-2] == "other"


def _one_of_two(reference: FeatureReference, shares: Floats, null: Floats, rows: int) -> Change:
    """Of what is on or off, how often it is on says all."""
    before, after = (float(part[1] / max(float(part[:2].sum()), 1e-12)) for part in (null, shares))
    value = reference.bins.names[1]
    return Change(
        effect=after - before,
        unit="share of rows",
        words=f"is {value} in {after:.1%} of rows ({before:.1%} before)",
        before={"value": value, "share": before},
        after={"value": value, "share": after},
        rows=rows,
    )


def _numeric(reference: FeatureReference, moved: Floats, moments: Floats, rows: int) -> Change:
    scale, centre = scale_of(reference), reference.mean or 0.0
    shift = float(moments[1] / moments[0])
    sd = math.sqrt(max(0.0, float(moments[2] / moments[0]) - shift * shift))
    usual = (reference.sd or 0.0) / scale
    if sd < 1e-6 * usual:  # rounding
        sd = 0.0
    before = {"mean": reference.mean, "sd": reference.sd}
    after = {"mean": centre + shift * scale, "sd": sd * scale}
    robust = reference.robust
    if robust:  # outliers rule the standard deviation, which then tells nothing
        del before["sd"], after["sd"]
    unit = "reference IQR/1.349" if robust else "reference sd"
    ratio = sd / usual if usual > 0 else 1.0
    wider = 0.0 if ratio <= 0 or robust or rows < 10 else math.log(ratio)
    total_variation = float(moved.sum() / 2)
    if abs(wider) * math.sqrt(2) > abs(shift) and abs(wider) > 0.1:
        verb = "spreads" if wider > 0 else "shrinks"
        figures = f"sd {figure(before['sd'])} -> {figure(after['sd'])}"
        words = f"{verb} to {ratio:.2f} times its reference sd ({figures})"
        return Change(
            effect=ratio, unit="times reference sd", words=words, before=before, after=after, rows=rows
        )
    if not reference.sd and shift:
        words = f"is no longer constant (mean {figure(before['mean'])} -> {figure(after['mean'])})"
        return Change(effect=shift, unit="its own unit", words=words, before=before, after=after, rows=rows)
    if abs(shift) < 0.5 * total_variation:
        words = f"changed shape by total variation {total_variation:.2f}"
        return Change(
            effect=total_variation, unit="total variation", words=words, before=before, after=after, rows=rows
        )
    words = f"shifted by {shift:+.2f} {unit} (mean {figure(before['mean'])} -> {figure(after['mean'])})"
    return Change(effect=shift, unit=unit, words=words, before=before, after=after, rows=rows)


def _category(reference: FeatureReference, shares: Floats, null: Floats, moved: Floats, rows: int) -> Change:
    most = int(np.abs(np.sqrt(shares) - np.sqrt(null)).argmax())  # one that vanishes before one that gains
    name = reference.bins.names[most]
    effect = float(moved.sum() / 2)
    named = f"'{name}'" if most < len(reference.bins.names) - 2 else name
    words = f"changed by total variation {effect:.2f} ({named} {null[most]:.0%} -> {shares[most]:.0%})"
    before, after = (
        {"category": name, "share": float(null[most])},
        {"category": name, "share": float(shares[most])},
    )
    return Change(effect=effect, unit="total variation", words=words, before=before, after=after, rows=rows)


def centre_of(reference: FeatureReference, context: str = "") -> float:
    """What values are held against: the reference's mean, in this context where it knows it."""
    known = reference.contexts.get(context)
    return (reference.mean if known is None else known.mean) or 0.0


def scale_of(reference: FeatureReference, context: str = "") -> float:
    """What values are divided by: the reference's spread, 1 where it has none."""
    known = reference.contexts.get(context)
    return (reference.spread if known is None else known.spread) or 1.0


def figure(value: float | None) -> str:
    """Four significant digits."""
    return "?" if value is None else f"{value:.4g}"


def clock(ts: float, row: int) -> str:
    """A moment for people, or the number of the prediction where there are no times."""
    if not 0 < ts < 253402300800:
        return f"prediction {row + 1}"
    return datetime.fromtimestamp(ts, tz=timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def event_id(type: str, where: Where) -> str:
    """The same finding has the same id, however often it is computed."""
    text = repr((type, where.stream, where.feature, where.row, where.ts))
    # Seeded by the text's SHA-512, always alike; hashlib would bring OpenSSL, 3.4 MB.
    return f"{type}-{random.Random(text).getrandbits(64):016x}"


def event(type: str, severity: str, where: Where, message: str, data: dict[str, Any]) -> Event:
    """An event about one feature."""
    data = {"feature": where.feature, **where.names, "row": where.row, **data}
    return Event(
        ts=where.ts, id=event_id(type, where), type=type, severity=severity, message=message, data=data
    )


def alarm(where: Where, method: str, change: Change, since_ts: float, since_row: int) -> Event:
    """One feature has changed."""
    data = {
        "method": method,
        "effect": change.effect,
        "effect_unit": change.unit,
        "since": since_ts,
        "since_index": since_row,
        "before": change.before,
        "after": change.after,
        "sample_size": change.rows,
    }
    head, _, tail = change.words.partition(" (")
    since = f"{head} since {clock(since_ts, since_row)}" + (f" ({tail}" if tail else "")
    return event(change.type, "alarm", where, f"{where.subject} {since}", data)


def recovery(where: Where, of: str, words: str, since_ts: float) -> Event:
    """What was raised is over."""
    return event("recovery", "info", where, f"{where.subject} {words}", {"of": of, "since": since_ts})


def new_normal(where: Where, since_ts: float) -> Event:
    """A change that was acknowledged is learned."""
    message = (
        f"{where.subject} is as it has been since {clock(since_ts, where.row)}: the new normal is learned"
    )
    return event("rebaselined", "info", where, message, {"since": since_ts})


def fault(where: Where, found: Fault, since_ts: float, since_row: int) -> Event:
    """A feature's data are not what they should be."""
    data = {
        "method": found.type,
        "effect": found.effect,
        "effect_unit": "share of rows",
        "value": found.value,
        "since": since_ts,
        "since_index": since_row,
        "reference": found.reference,
    }
    message = f"{where.subject} {found.words} since {clock(since_ts, since_row)} ({found.figures})"
    return event(found.type, "alarm", where, message, data)


def stuck(where: Where, value: float, run: int, longest: int, since_ts: float, since_row: int) -> Event:
    """A sensor repeats one value."""
    message = (
        f"{where.subject} is stuck at {value:.6g} since {clock(since_ts, since_row)} "
        f"({run} equal values; the longest run of the reference is {longest})"
    )
    data = {
        "method": "stuck",
        "value": value,
        "effect": float(run),
        "effect_unit": "equal values",
        "longest_run": longest,
        "since": since_ts,
        "since_index": since_row,
    }
    return event("stuck", "alarm", where, message, data)


def result(
    where: Where,
    method: str,
    *,
    statistic: float | None,
    threshold: float | None,
    is_drift: bool | None,
    state: str,
    change: Change | None = None,
    p_value: float | None = None,
    sample_size: int = 0,
    lacks: str = "",
) -> DriftResult:
    """The answer about one feature."""
    data: dict[str, Any] = {"state": state} | ({"lacks": lacks} if lacks else {})
    if change is not None:
        data |= {"effect_unit": change.unit, "before": change.before, "after": change.after}
    return DriftResult(
        ts=where.ts,
        feature=where.feature,
        method=method,
        statistic=statistic,
        p_value=p_value,
        effect=change.effect if change is not None else None,
        threshold=threshold,
        is_drift=is_drift,
        sample_size=sample_size,
        data=data,
        **where.names,
    )
