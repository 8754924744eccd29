"""What people pick instead, at its defaults, on the streams of ``bench.streams``.

River's detectors read the first feature, value by value, a category as its rank of frequency; the distance reads all
features in windows of 1,000 rows. Each stops at its first alarm. Its delay is told by another that starts a little
before the shift: otherwise those that alarm on everything would have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray
from river import drift

from bench.streams import Stream
from detector.rows import Column
from schemas.model_spec import FeatureType

Floats = NDArray[np.float64]

WARM_UP: Final = 1_000
"""Rows before the shift that whoever tells the delay has seen."""
DISTANCE_ROWS: Final = 1_000
DISTANCE: Final = 0.1
"""Evidently's default above 1,000 reference rows: Wasserstein in standard deviations, Jensen-Shannon for categories."""

Rival = Callable[[Stream, int], tuple[int | None, int | None]]
"""From a stream and its stable rows to the row of the first false alarm, and the rows from the shift to an alarm."""


def on_first_feature(make: Callable[[], drift.base.DriftDetector]) -> Rival:
    """One of River's."""

    def watch(stream: Stream, stable: int) -> tuple[int | None, int | None]:
        values = _numbers(stream, 0, stream.live[0])
        return _first(make(), values[:stable]), _delay(make(), values, stable)

    return watch


def _first(detector: drift.base.DriftDetector, values: Floats) -> int | None:
    for row, value in enumerate(values.tolist()):
        detector.update(value)
        if detector.drift_detected:
            return row
    return None


def _delay(detector: drift.base.DriftDetector, values: Floats, stable: int) -> int | None:
    for row, value in enumerate(values[stable - WARM_UP :].tolist(), start=1 - WARM_UP):
        detector.update(value)
        if detector.drift_detected and row > 0:
            return row
    return None


def distance(stream: Stream, stable: int) -> tuple[int | None, int | None]:
    """Alarm when any feature is further than `DISTANCE` from the reference in a window of `DISTANCE_ROWS` rows."""
    whole = stable // DISTANCE_ROWS * DISTANCE_ROWS
    alarms = np.zeros(len(stream.live[0]) // DISTANCE_ROWS, dtype=np.bool_)
    shifted = (len(stream.live[0]) - stable) // DISTANCE_ROWS
    behind = np.zeros(shifted, dtype=np.bool_)
    for index, (then, column) in enumerate(zip(stream.reference.columns, stream.live, strict=True)):
        measure = _measure(stream, index, _numbers(stream, index, then))
        now = _numbers(stream, index, column)
        alarms[: whole // DISTANCE_ROWS] |= measure(now[:whole].reshape(-1, DISTANCE_ROWS)) > DISTANCE
        behind |= measure(now[stable : stable + shifted * DISTANCE_ROWS].reshape(-1, DISTANCE_ROWS)) > DISTANCE
    first = (int(alarms.argmax()) + 1) * DISTANCE_ROWS if alarms.any() else None
    return first, (int(behind.argmax()) + 1) * DISTANCE_ROWS if behind.any() else None


def _measure(stream: Stream, index: int, reference: Floats) -> Callable[[Floats], Floats]:
    if stream.case.feature(index).type is FeatureType.NUMBER:
        # The distance to the reference's own 1,000 quantiles: one sort of each window.
        scale = np.std(reference)
        quantiles = np.quantile(reference, (np.arange(DISTANCE_ROWS) + 0.5) / DISTANCE_ROWS)
        return lambda windows: np.abs(np.sort(windows, axis=1) - quantiles).mean(axis=1) / scale
    return lambda windows: np.array([_jensen_shannon(window, reference) for window in windows])


def _jensen_shannon(window: Floats, reference: Floats) -> float:
    """Distance, base 2, of two samples of whole numbers."""
    width = int(max(window.max(), reference.max())) + 1
    p, q = (np.bincount(each.astype(np.int64), minlength=width) / len(each) for each in (window, reference))
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(each > 0, each * np.log2(each / middle), 0.0).sum() for each in (p, q)]
    return float(np.sqrt(max(sum(terms) / 2, 0.0)))


def _numbers(stream: Stream, index: int, column: Column | None) -> Floats:
    """A column as numbers: missing values as 0, which is what people fill in; categories by their rank of frequency."""
    if stream.case.feature(index).type is FeatureType.NUMBER:
        return np.nan_to_num(np.asarray(column, dtype=np.float64))
    return np.array([float(value[1:]) for value in cast(Sequence[str], column)])


RIVALS: Final[Mapping[str, Rival]] = {
    "ADWIN": on_first_feature(drift.ADWIN),
    "KSWIN": on_first_feature(lambda: drift.KSWIN(seed=1)),
    "Page-Hinkley": on_first_feature(drift.PageHinkley),
    "Wasserstein/JS > 0.1": distance,
}
