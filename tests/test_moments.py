"""Points in time as users and programs write them."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mlops_monitor.moments import as_moment, unix_seconds

NOW = 1_760_000_000.0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (5, 5.0),
        ("5", 5.0),
        ("-5.5", -5.5),
        ("1h", NOW - 3600),
        ("1.5 h", NOW - 5400),
        ("15min", NOW - 900),
        ("15m", NOW - 900),
        ("7d", NOW - 604_800),
        ("2w", NOW - 1_209_600),
        ("0s", NOW),
        ("1970-01-02", 86_400.0),
        ("1970-01-01T00:00:05Z", 5.0),
        ("1970-01-01T01:00:05+01:00", 5.0),
        (datetime(1970, 1, 1, 0, 0, 5, tzinfo=timezone.utc), 5.0),
        (datetime.fromtimestamp(5), 5.0),
        (" 5 ", 5.0),
    ],
)
def test_what_is_a_moment(given: Any, expected: float | None) -> None:
    assert as_moment(given, NOW) == expected


@pytest.mark.parametrize(
    "given", ["", "soon", "1 fortnight", "2026-13-01", "nan", "inf", float("nan"), "h", "--1", object()]
)
def test_anything_else_is_one_sentence(given: Any) -> None:
    with pytest.raises(ValueError, match="is no time; write 2026-01-31") as error:
        as_moment(given, NOW)
    assert "\n" not in str(error.value)


@given(st.one_of(st.text(), st.floats(), st.integers()))
def test_no_text_or_number_gives_another_error(given: Any) -> None:
    try:
        found = as_moment(given, NOW)
    except ValueError:
        return
    assert isinstance(found, float)


@given(
    st.datetimes(
        datetime(1971, 1, 1),
        datetime(2200, 1, 1),
        timezones=st.sampled_from([timezone.utc, timezone(timedelta(hours=-9))]),
    )
)
def test_a_datetime_and_its_iso_text_are_the_same_moment(given: datetime) -> None:
    assert as_moment(given.isoformat(), NOW) == pytest.approx(given.timestamp(), abs=1e-6)
    assert unix_seconds(given.isoformat()) == pytest.approx(unix_seconds(given), abs=1e-6)


@pytest.mark.parametrize("given", [float("nan"), float("inf"), "1h", "soon", date(2026, 1, 1), None, [], {}])
def test_what_a_program_logs_as_a_time_is_a_moment_and_not_so_long_ago(given: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        unix_seconds(given)
