"""Values as JSON has them to the columns of ``detector.rows``.

What a value means does not depend on how it was decoded: a number is read alike from a typed struct and from a plain
dictionary. A value that is not of its feature's type is kept as *invalid*, so that the row is not lost and the fault
becomes visible in a bin of its own.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import NoneType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.rows import ANSWERED, FALSE, INVALID, TRUE, Column, Rows
from schemas.model_spec import FeatureType

_ARE_NUMBERS: Final = {float, int, NoneType}
_ARE_TEXT: Final = {str, NoneType}
_ARE_BOOLEANS: Final = {bool, NoneType}
_STATUSES: Final = {answered.value: float(code) for code, answered in enumerate(ANSWERED)}
_BOOLEANS: Final = {True: TRUE, False: FALSE, None: None}


def typed_numbers(values: Iterable[float | None], count: int) -> NDArray[np.float64]:
    """Make a column of numbers that are known to be floats or None (missing)."""
    kept = tuple(values)
    try:  # twice as fast as numpy's own conversion, but knows no None
        return np.frombuffer(struct.pack(f"{count}d", *kept), dtype=np.float64)
    except struct.error:
        return np.fromiter(kept, np.float64, count)


def typed_number_lists(lists: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    """Make one column of lists that are known to hold floats and None (missing)."""
    return np.frombuffer(b"".join(map(_packed, lists)), dtype=np.float64)


def _packed(values: Sequence[float | None]) -> bytes:
    try:
        return struct.pack(f"{len(values)}d", *values)
    except struct.error:
        return np.array(values, dtype=np.float64).tobytes()


def numbers(values: Sequence[object]) -> NDArray[np.float64]:
    """Make a column of numbers: NaN where missing, an infinity where the value is none or is out of range."""
    if _ARE_NUMBERS.issuperset(map(type, values)):
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError:
            pass
    return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: object) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.inf
    try:
        return float(value)
    except OverflowError:
        return math.inf


def categories(values: Sequence[object]) -> list[str | None]:
    """Make a column of categories: text as it is, booleans as true or false, 3 and 3.0 both as 3."""
    if _ARE_TEXT.issuperset(map(type, values)):
        return list(values)  # type: ignore[arg-type]
    return [category(value) for value in values]


def category(value: object) -> str | None:
    """Write one category."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return TRUE if value else FALSE
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if math.isinf(value):
            return INVALID
        return str(int(value)) if value.is_integer() else repr(value)
    return INVALID


def booleans(values: Sequence[object]) -> list[str | None]:
    """Make a column of booleans: true and false, and the numbers 1 and 0 that some producers write for them."""
    if _ARE_BOOLEANS.issuperset(map(type, values)):
        return [_BOOLEANS[value] for value in values]  # type: ignore[index]
    return [_boolean(value) for value in values]


def _boolean(value: object) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int | float) and value in (0, 1):
        return TRUE if value else FALSE
    return INVALID


def count_invalid(column: Column) -> int:
    """Count the values that are not of the column's type."""
    if isinstance(column, list):
        return sum(value is INVALID for value in column)
    return int(np.isinf(column).sum())


def id_text(value: object) -> str | None:
    """Read a prediction id; a whole number stands for its digits, and anything else is none."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def where_none(values: Sequence[Any]) -> list[int]:
    """Positions of what is missing."""
    return [position for position, value in enumerate(values) if value is None] if None in values else []


def taken(rows: Rows, places: NDArray[np.int64]) -> Rows:
    """Rows at these places, in this order."""

    def of(column: Column | None) -> Column | None:
        if column is None or isinstance(column, np.ndarray):
            return None if column is None else column[places]
        return [column[row] for row in places.tolist()]

    return replace(
        rows,
        offsets=rows.offsets[places],
        times=rows.times[places],
        stages=rows.stages[places],
        columns=tuple(map(of, rows.columns)),
        context=rows.context and tuple(map(of, rows.context)),
        lags=None if rows.lags is None else rows.lags[places],
        service=None if rows.service is None else rows.service[places],
    )


def status_codes(values: Iterable[object]) -> NDArray[np.float64]:
    """How requests ended, (n,), as indices into ``ANSWERED``; NaN where that is not known, or is no such word."""
    return np.array([_STATUSES.get(value, math.nan) if isinstance(value, str) else math.nan for value in values])


CONVERTERS: Final[dict[FeatureType, Callable[[Sequence[object]], Column]]] = {
    FeatureType.NUMBER: numbers,
    FeatureType.CATEGORY: categories,
    FeatureType.BOOLEAN: booleans,
}
"""How the values of a signal become a column."""
