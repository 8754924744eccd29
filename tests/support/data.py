"""Specs and rows for tests of the core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.reference import freeze
from detector.rows import STAGES, Column, Rows, Source, signal_types
from schemas.model_spec import FeatureSpec, FeatureType, ModelSpec, Stage

MONDAY = 1_704_067_200.0
"""2024-01-01 00:00 UTC, a Monday."""


def numbers(*names: str) -> tuple[FeatureSpec, ...]:
    """Features that are numbers."""
    return tuple(FeatureSpec(name=name, type=FeatureType.NUMBER) for name in names)


def category(name: str) -> FeatureSpec:
    """A feature that is a category."""
    return FeatureSpec(name=name, type=FeatureType.CATEGORY)


def spec_of(*features: FeatureSpec, **settings: Any) -> ModelSpec:
    """A binary model's spec without a reference."""
    return ModelSpec(**{"model": "m", "version": "1", "task": "binary", "features": features} | settings)


def rows_of(
    spec: ModelSpec,
    columns: Mapping[str, Sequence[Any] | NDArray[Any]],
    *,
    source: Source = Source.PREDICTIONS,
    offsets: Sequence[int] | None = None,
    times: Sequence[float] | NDArray[np.float64] | None = None,
    stages: Sequence[Stage] | None = None,
) -> Rows:
    """Rows with the columns of the signals named; the other signals are not carried. Offsets count from 0."""
    n = len(next(iter(columns.values())))
    types = dict(zip(spec.signals, signal_types(spec), strict=True))

    def column(signal: str) -> Column | None:
        values = columns.get(signal)
        if values is None:
            return None
        return np.array(values, dtype=np.float64) if types[signal] is FeatureType.NUMBER else list(values)

    return Rows(
        source,
        np.arange(n) if offsets is None else np.array(offsets, dtype=np.int64),
        np.full(n, MONDAY) if times is None else np.array(times, dtype=np.float64),
        np.array([STAGES.index(stage) for stage in stages or [Stage.PRODUCTION] * n], dtype=np.int8),
        tuple(column(signal) for signal in spec.signals),
    )


def frozen_of(spec: ModelSpec, columns: Mapping[str, Sequence[Any] | NDArray[Any]], **rows: Any) -> ModelSpec:
    """The spec with a reference of these columns."""
    return freeze(spec, rows_of(spec, columns, **rows), origin="test")
