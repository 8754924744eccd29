"""Event times: how they are written, and which are believed."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from agents.formats.times import seconds
from schemas.model_spec import TimeSpec
from tests.support.data import numbers, spec_of
from tests.support.decoding import APPENDED, decode, reasons, record, rows_in

SPEC = spec_of(*numbers("age"))


def at(time: Any) -> dict[str, Any]:
    return {"model": "m", "version": "1", "time": time, "prediction": 1, "features": {"age": 1}}


@pytest.mark.parametrize(
    "time",
    [
        "2024-05-01T12:00:00Z",
        "2024-05-01t12:00:00z",
        "2024-05-01 12:00:00+00:00",
        "2024-05-01T14:00:00+02:00",
        "2024-05-01T14:00:00.000+0200",
        "2024-05-01T12:00Z",
        1_714_564_800,
        1_714_564_800.0,
        1_714_564_800_000,
    ],
)
def test_a_time_is_rfc_3339_with_an_offset_or_seconds_or_milliseconds(time: Any) -> None:
    assert rows_in(SPEC, at(time)).times.tolist() == [APPENDED]


def test_fractions_of_a_second_are_kept_to_the_microsecond() -> None:
    assert rows_in(SPEC, at("2024-05-01T12:00:00.123456Z")).times[0] == APPENDED + 0.123456


def test_without_a_time_the_records_timestamp_counts() -> None:
    event = at(None)
    del event["time"]
    assert rows_in(SPEC, event, at(None), at("2024-05-01T11:00:00Z")).times.tolist() == [
        APPENDED,
        APPENDED,
        APPENDED - 3_600,
    ]


@pytest.mark.parametrize("time", ["2024-05-01T12:00:00", "2024-05-01", "2024-05-01 12:00"])
def test_a_time_without_an_offset_is_refused_since_it_may_be_off_by_hours(time: str) -> None:
    decoded = decode(SPEC, at(time))
    assert reasons(decoded) == {100: "invalid_time"}
    assert "has no offset from UTC: write it as in 2024-05-01T12:00:00Z" in decoded.letters[0].detail


@pytest.mark.parametrize(
    "time", ["yesterday", "", True, [], {}, "2024-02-30T00:00:00Z", 1e300, -1, "1969-12-31T23:59:59Z"]
)
def test_what_is_no_time_since_1970_is_refused_and_the_rest_is_counted(time: Any) -> None:
    decoded = decode(SPEC, at(1_714_564_800), at(time), at("2024-05-01T12:00:00Z"))
    assert reasons(decoded) == {101: "invalid_time"}
    assert len(decoded.rows[0][1]) == 2


@pytest.mark.parametrize(("ahead", "is_believed"), [(timedelta(minutes=59), True), (timedelta(minutes=61), False)])
def test_a_time_may_be_so_far_ahead_of_its_record_as_the_spec_says(ahead: timedelta, is_believed: bool) -> None:
    decoded = decode(SPEC, at((datetime.fromtimestamp(APPENDED, UTC) + ahead).isoformat()))
    assert reasons(decoded) == ({} if is_believed else {100: "invalid_time"})


def test_any_past_is_believed_unless_the_spec_limits_it() -> None:
    past = at("1999-01-01T00:00:00Z")
    assert rows_in(SPEC, past).times[0] == datetime(1999, 1, 1, tzinfo=UTC).timestamp()
    strict = spec_of(*numbers("age"), times=TimeSpec(max_behind=timedelta(days=1)))
    decoded = decode(strict, past, at("2024-05-01T00:00:00Z"))
    assert reasons(decoded) == {100: "invalid_time"}
    assert "behind its record's timestamp; times.max_behind is 1 day" in decoded.letters[0].detail


def test_a_record_without_a_timestamp_needs_an_event_with_a_time() -> None:
    decoded = decode(SPEC, record(at("2024-05-01T12:00:00Z"), 0, timestamp=-1), record(at(None), 1, timestamp=-1))
    assert decoded.rows[0][1].times.tolist() == [APPENDED]
    assert reasons(decoded) == {1: "invalid_time"}
    assert "set `time`" in decoded.letters[0].detail


def test_a_bad_time_of_a_cloudevent_is_refused_only_where_it_is_needed() -> None:
    header = [("ce_time", b"noon")]
    decoded = decode(SPEC, record(at(None), 0, headers=header), record(at("2024-05-01T12:00:00Z"), 1, headers=header))
    assert reasons(decoded) == {0: "invalid_time"}


@pytest.mark.parametrize(
    "odd", ["2024-02-30T00:00:00Z", "2024-05-01T25:00:00Z", "2024-05-01T12:00:00X", "2024-05-01T12;00:00Z"]
)
def test_one_bad_time_among_many_of_one_form_is_found(odd: str) -> None:
    times, problems = seconds(["2024-05-01T12:00:00Z"] * 50 + [odd])
    assert set(problems) == {50}
    assert set(times[:50]) == {APPENDED}
    assert math.isnan(times[50])


def test_many_times_are_read_as_one_by_one() -> None:
    texts = [
        f"2024-{month:02}-{day:02}T{day % 24:02}:59:{day:02}.{day:06}Z"
        for month in range(1, 13)
        for day in range(1, 29)
    ]
    one_by_one = np.array([seconds([text])[0][0] for text in texts])
    np.testing.assert_array_equal(seconds(texts)[0], one_by_one)
