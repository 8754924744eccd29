"""Event times: read as the contract reads them, believed as far as the model spec allows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from schemas.model_spec import TimeSpec

_CONTRACT: Final = TypeAdapter[datetime](AwareDatetime)
_SEPARATORS: Final = {4: "-", 7: "-", 10: "T", 13: ":", 16: ":"}
_WHOLE_SECONDS: Final = 19
_MICROSECONDS: Final = 26
_ENOUGH_FOR_ARRAYS: Final = 32
"""Below so many times one by one is as fast."""


def seconds(raw: Sequence[object]) -> tuple[NDArray[np.float64], dict[int, str]]:
    """Read event times.

    Parameters
    ----------
    raw
        RFC 3339 with an offset from UTC, or a number of seconds (above 2e10: milliseconds) since 1970, or None.

    Returns
    -------
    times
        (n,) seconds since 1970; NaN where there is none.
    problems
        What is wrong, by position.
    """
    kinds = set(map(type, raw))
    if kinds == {NoneType}:
        return np.full(len(raw), np.nan), {}
    if kinds == {str} and len(raw) >= _ENOUGH_FOR_ARRAYS and (times := _of_one_form(raw)) is not None:  # type: ignore[arg-type]
        return times, {}
    times, problems = np.full(len(raw), np.nan), {}
    for position, value in enumerate(raw):
        if value is not None:
            try:
                times[position] = _CONTRACT.validate_python(value).timestamp()
            except ValidationError as error:
                problems[position] = _explain(value, error)
    return times, problems


def _of_one_form(texts: Sequence[str]) -> NDArray[np.float64] | None:
    """Read many times of the form ``2024-05-01T12:00:00.123456Z`` at once; None if one is not of the first one's form.

    One by one, times would cost a third of all decoding.
    """
    length = len(texts[0])
    joined = "".join(texts)
    if not texts[0].endswith("Z") or not joined.isascii() or set(map(len, texts)) != {length}:
        return None
    stop = length - 1
    if stop != _WHOLE_SECONDS and not _WHOLE_SECONDS + 1 < stop <= _MICROSECONDS:
        return None
    fixed = _SEPARATORS | {stop: "Z"} | ({_WHOLE_SECONDS: "."} if stop > _WHOLE_SECONDS else {})
    letters = np.frombuffer(joined.encode("ascii"), np.uint8).reshape(len(texts), length)
    digits = [position for position in range(stop) if position not in fixed]
    separators = np.frombuffer("".join(fixed.values()).encode("ascii"), np.uint8)
    if (letters[:, list(fixed)] != separators).any() or (letters[:, digits] - np.uint8(ord("0")) > 9).any():
        return None
    try:
        times = np.ascontiguousarray(letters[:, :stop]).view(f"S{stop}").ravel().astype("datetime64[us]")
    except ValueError:
        return None
    return times.astype(np.int64) / 1e6


def _explain(value: object, error: ValidationError) -> str:
    if isinstance(value, str) and error.errors()[0]["type"] == "timezone_aware":
        return f"`time` {value[:40]!r} has no offset from UTC: write it as in 2024-05-01T12:00:00Z"
    return f"`time` {str(value)[:40]!r} is no time: write it as in 2024-05-01T12:00:00Z"


def disbelieved(
    times: NDArray[np.float64],
    appended: NDArray[np.float64],
    limits: TimeSpec,
    events: Sequence[int] | NDArray[np.int64],
) -> dict[int, str]:
    """Name the times that are not believed.

    Parameters
    ----------
    times
        (n,) event times, seconds since 1970; NaN where there is none.
    appended
        (n,) timestamps of the records they came in; NaN where a record has none, then nothing is compared with it.
    limits
        Of the model spec.
    events
        (n,) positions of the events they belong to.

    Returns
    -------
    dict
        What is wrong, by position of the event.
    """
    ahead = limits.max_ahead.total_seconds()
    wrong = np.isnan(times) | (times < 0) | (times - appended > ahead)
    if limits.max_behind is not None:
        wrong |= appended - times > limits.max_behind.total_seconds()
    problems: dict[int, str] = {}
    for position in np.flatnonzero(wrong).tolist():
        problems.setdefault(int(events[position]), _disbelief(times[position], appended[position], limits))
    return problems


def _disbelief(time: float, appended: float, limits: TimeSpec) -> str:
    if np.isnan(time):
        return "neither the event nor its record has a time: set `time`"
    shown = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time)).isoformat()
    if time < 0:
        return f"`time` {shown} is before 1970"
    distance = timedelta(seconds=round(abs(time - appended)))
    if time > appended:
        return f"`time` {shown} is {distance} ahead of its record's timestamp; times.max_ahead is {limits.max_ahead}"
    return f"`time` {shown} is {distance} behind its record's timestamp; times.max_behind is {limits.max_behind}"
