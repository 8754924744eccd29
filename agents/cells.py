"""Cells of a file to the columns of the core: what a value means, where only text has to settle it.

- empty fields and the words in ``MISSING`` are missing (R and pandas write them so);
- a number that cannot be read is invalid, as are values that are not of their feature's type on the wire;
- ``3.0`` stands for the category ``3``: pandas writes integers so, once one of them is missing;
- times are RFC 3339 or the like, without an offset in UTC, or seconds (above 2e10: milliseconds) since 1970.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from agents.formats.columns import CONVERTERS
from agents.formats.times import seconds
from detector.rows import STAGES, Column
from schemas.model_spec import FeatureType, Stage

MISSING: Final = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")

_MILLISECONDS_ABOVE: Final = 2e10
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "t", "yes", "1", "1.0"), True),
    **dict.fromkeys(("false", "f", "no", "0", "0.0"), False),
}
_INTEGRAL: Final = re.compile(r"(-?\d+)\.0+")
_OFFSET: Final = re.compile(r"(?:[Zz]|[+-]\d\d:?\d\d)$")


def read_column(values: pa.Array, kind: FeatureType) -> Column:
    """Make a signal's column of the values of a file."""
    if kind is FeatureType.NUMBER:
        return _numbers(values)
    return CONVERTERS[kind](plain_values(values, kind))


def read_times(values: pa.Array) -> NDArray[np.float64]:
    """Read event times, shape (n,), in seconds since 1970; NaN where there is none or it cannot be read."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        for kind in (pa.float64(), pa.timestamp("us", "UTC"), pa.timestamp("us")):
            try:
                values = values.cast(kind)
                break
            except pa.ArrowInvalid:
                continue
        else:
            return seconds([_as_on_the_wire(text) for text in values.to_pylist()])[0]
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("us"))
    if pa.types.is_timestamp(values.type):
        micros = values.cast(pa.timestamp("us", values.type.tz), safe=False).cast(pa.int64())
        return np.asarray(micros.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64) / 1e6
    numbers = _numbers(values)
    with np.errstate(invalid="ignore"):
        times = np.where(numbers > _MILLISECONDS_ABOVE, numbers / 1_000, numbers)
    return np.where(np.isfinite(times), times, np.nan)


def _numbers(values: pa.Array) -> NDArray[np.float64]:
    """Read numbers: NaN is missing, an infinity what is none."""
    if pa.types.is_boolean(values.type) or pa.types.is_temporal(values.type):
        return np.where(np.asarray(values.is_null()), np.nan, np.inf)
    try:
        floats = pc.cast(values, pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.array([_number(value) for value in values.to_pylist()], dtype=np.float64)
    return np.array(floats.to_numpy(zero_copy_only=False), dtype=np.float64)


def _number(value: object) -> float:
    if value is None:
        return np.nan
    try:
        # Python's own reader also takes 1_000, which is no number anywhere else.
        return float(value) if isinstance(value, str) and "_" not in value else np.inf
    except ValueError:
        return np.inf


def plain_values(values: pa.Array, kind: FeatureType) -> list[object]:
    """Values as JSON would have them; what only text has to settle is settled."""
    plain: list[object] = values.to_pylist()
    if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
        if pa.types.is_temporal(values.type):
            return [None if value is None else str(value) for value in plain]
        return plain
    if kind is FeatureType.BOOLEAN:
        return [None if text is None else _BOOLEANS.get(str(text).strip().lower(), text) for text in plain]
    return [_category(text) for text in plain]


def _category(text: object) -> object:
    integral = _INTEGRAL.fullmatch(text) if isinstance(text, str) else None
    return integral[1] if integral else text


def read_stages(values: pa.Array) -> NDArray[np.int8]:
    """Index into ``STAGES`` of each row; -1 where there is no such stage. A missing one is production."""
    codes: dict[object, int] = {stage.value: code for code, stage in enumerate(STAGES)}
    codes[None] = codes[Stage.PRODUCTION.value]
    return np.array([codes.get(value, -1) for value in values.to_pylist()], dtype=np.int8)


def _as_on_the_wire(text: str | None) -> object:
    """Write a time as events have it: numbers as numbers, and what has no offset from UTC as UTC."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return text if _OFFSET.search(text) else f"{text}Z"
