"""Thresholds and rates chunk by chunk, against NannyML's published figures."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from edge_mlops_monitor.drift.chunks import missing_rate, sampling_error, thresholds, unseen_rate
from edge_mlops_monitor.errors import DataError


def test_nannymls_threshold_cases_agree(shared_data: Path) -> None:
    cases = json.loads((shared_data / "nannyml" / "expected" / "thresholds_expected.json").read_text())[
        "cases"
    ]
    for case in cases:
        values = range(30) if case["values"] == "range(30)" else case["values"]
        lower, upper = case["mult"]
        found = thresholds(values, lower, upper, case["offset"])
        for one, expected in zip(found, case["expected"], strict=True):
            assert one is None if expected is None else one == pytest.approx(expected, rel=1e-12), case
    assert len(cases) == 6


def chunks(shared_data: Path) -> tuple[dict[str, list[Any]], list[dict[str, list[Any]]]]:
    """The reference's columns, and those of ten equal chunks (and the rest) of reference and analysis."""
    frames = []
    for name in ("reference", "analysis"):
        with open(shared_data / "nannyml" / "data" / f"titanic_{name}.csv", newline="") as lines:
            rows = list(csv.DictReader(lines))
        frames.append({key: [row[key] or None for row in rows] for key in rows[0]})
    parts = []
    for frame in frames:
        rows = len(frame["Sex"])
        step = rows // 10
        parts += [{k: column[i : i + step] for k, column in frame.items()} for i in range(0, rows, step)]
    return frames[0], parts


def table(shared_data: Path, number: int) -> list[dict[str, Any]]:
    found = json.loads((shared_data / "nannyml" / "expected" / "titanic_tables.json").read_text())[number]
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


def printed(value: float) -> float:
    return float(f"{value:.6g}")


def test_titanics_missing_rates_errors_thresholds_and_alerts_are_nannymls(shared_data: Path) -> None:
    reference, parts = chunks(shared_data)
    expected = table(shared_data, 0)
    assert len(parts) == len(expected) == 22
    names = {key.partition("|")[0] for key in expected[0]} - {"chunk"}
    assert len(names) == 10
    for name in names:
        rates = [missing_rate(part[name]) for part in parts]
        low, high = thresholds(rates[:11])
        assert low is not None
        assert high is not None
        low, high = max(low, 0.0), min(high, 1.0)
        for rate, part, row in zip(rates, parts, expected, strict=True):
            assert printed(rate) == row[f"{name}|value"]
            error = sampling_error(missing_rate(reference[name]), len(part[name]))
            assert printed(error) == row[f"{name}|sampling_error"]
            assert printed(min(1.0, rate + 3 * error)) == row[f"{name}|upper_confidence_boundary"]
            assert printed(max(0.0, rate - 3 * error)) == row[f"{name}|lower_confidence_boundary"]
            assert (printed(low), printed(high)) == (
                row[f"{name}|lower_threshold"],
                row[f"{name}|upper_threshold"],
            )
            assert (not low <= rate <= high) is row[f"{name}|alert"]


def test_titanics_unseen_rates_are_nannymls(shared_data: Path) -> None:
    reference, parts = chunks(shared_data)
    for part, row in zip(parts, table(shared_data, 1), strict=True):
        for name in ("Sex", "Ticket", "Cabin", "Embarked"):
            rate = unseen_rate(reference[name], part[name])
            assert printed(rate) == row[f"{name}|value"]
            assert (rate > 0) is row[f"{name}|alert"]


def test_thresholds_of_nothing_or_of_an_unknown_offset_are_refused_and_rates_of_nothing_are_no_number() -> (
    None
):
    with pytest.raises(DataError, match="at least one chunk"):
        thresholds([math.nan])
    with pytest.raises(DataError, match="use one of mean"):
        thresholds([1.0], offset="mode")
    assert thresholds([1.0, math.nan, 3.0]) == (-1.0, 5.0)
    assert math.isnan(missing_rate([]))
    assert math.isnan(unseen_rate(["a"], []))
