"""Rows in columns: cutting, joining, and which stream carries what."""

from __future__ import annotations

import numpy as np
import pytest

from detector.rows import INVALID, Rows, Source, carried, signal_types
from schemas.model_spec import FeaturesFrom, FeatureType, Output, PredictionSpec, Task
from tests.support.data import category, numbers, rows_of, spec_of

SPEC = spec_of(*numbers("age"), category("plan"), prediction=PredictionSpec(output=Output.SCORE))
AGE, PLAN, SCORE = SPEC.signals


def rows(start: int, stop: int) -> Rows:
    ages = np.arange(start, stop, dtype=np.float64)
    plans = [None if age % 3 == 0 else INVALID if age % 5 == 0 else f"p{age:.0f}" for age in ages]
    return rows_of(SPEC, {AGE: ages, PLAN: plans}, offsets=range(start, stop), times=ages * 10)


def same(one: Rows, other: Rows) -> bool:
    columns = all(
        left is right is None or (left is not None and right is not None and np.array_equal(left, right))
        for left, right in zip(one.columns, other.columns, strict=True)
    )
    arrays = [(one.offsets, other.offsets), (one.times, other.times), (one.stages, other.stages)]
    return columns and one.source is other.source and all(np.array_equal(left, right) for left, right in arrays)


def test_a_slice_cuts_every_column_alike() -> None:
    cut = rows(0, 20).slice(5, 12)
    assert len(cut) == 7
    assert same(cut, rows(5, 12))


def test_a_slice_keeps_a_column_that_is_not_carried_absent() -> None:
    assert rows(0, 20).slice(5, 12).columns[2] is None


def test_pieces_joined_again_are_the_whole() -> None:
    whole = rows(0, 20)
    assert same(Rows.concat([whole.slice(0, 3), whole.slice(3, 3), whole.slice(3, 20)]), whole)


def test_rows_of_different_sources_are_not_joined() -> None:
    features = rows_of(SPEC, {AGE: [1.0]}, source=Source.FEATURES)
    with pytest.raises(ValueError, match="different sources"):
        Rows.concat([rows(0, 1), features])


def test_rows_that_carry_different_columns_are_not_joined() -> None:
    with pytest.raises(ValueError, match="different columns"):
        Rows.concat([rows(0, 1), rows_of(SPEC, {AGE: [1.0]})])


def test_nothing_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="no rows"):
        Rows.concat([])


def test_a_score_is_binned_as_a_number_and_a_class_as_a_category() -> None:
    assert signal_types(SPEC) == (FeatureType.NUMBER, FeatureType.CATEGORY, FeatureType.NUMBER)
    classes = spec_of(task=Task.MULTICLASS, prediction=PredictionSpec(output=Output.CLASS))
    assert signal_types(classes) == (FeatureType.CATEGORY,)


def test_predictions_carry_the_features_unless_the_spec_takes_them_from_their_own_stream() -> None:
    assert carried(SPEC, Source.PREDICTIONS) == (True, True, True)
    assert carried(SPEC, Source.FEATURES) == (False, False, False)

    from_features = SPEC.model_copy(update={"features_from": FeaturesFrom.FEATURES})
    assert carried(from_features, Source.PREDICTIONS) == (False, False, True)
    assert carried(from_features, Source.FEATURES) == (True, True, False)
