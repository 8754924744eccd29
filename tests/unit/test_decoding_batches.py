"""Events of many rows in columns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from detector.rows import INVALID, STAGES, Source
from schemas.model_spec import FeatureSpec, FeatureType, Output, PredictionSpec
from tests.support.data import category, numbers, spec_of
from tests.support.decoding import APPENDED, decode, reasons, rows_in, same_rows

SPEC = spec_of(
    *numbers("age", "income"),
    category("country"),
    FeatureSpec(name="member", type=FeatureType.BOOLEAN),
    prediction=PredictionSpec(output=Output.SCORE),
)
COLUMNS = {"age": [1.5, None, 3], "income": [10, 20, 30], "country": ["DE", None, "FR"], "member": [True, None, False]}


def batch(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "version": "1", "rows": 3, "score": [0.1, 0.2, 0.3], "features": COLUMNS} | fields


def single(row: int, **fields: Any) -> dict[str, Any]:
    features = {name: column[row] for name, column in COLUMNS.items()}
    return {"model": "m", "version": "1", "score": [0.1, 0.2, 0.3][row], "features": features} | fields


def test_a_batch_is_the_rows_that_it_stands_for() -> None:
    many, one_by_one = rows_in(SPEC, batch()), rows_in(SPEC, *(single(row) for row in range(3)))
    assert many.offsets.tolist() == [100, 100, 100]
    for ours, theirs in zip(many.columns, one_by_one.columns, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_batches_and_single_rows_of_a_run_stay_in_the_order_of_the_log() -> None:
    rows = rows_in(SPEC, single(0), batch(), single(1), batch(), batch(), single(2))
    assert rows.offsets.tolist() == [100, 101, 101, 101, 102, 103, 103, 103, 104, 104, 104, 105]
    assert rows.columns[1].tolist() == [10, 10, 20, 30, 20, 10, 20, 30, 10, 20, 30, 30]
    assert rows.columns[2] == ["DE", "DE", None, "FR", None, "DE", None, "FR", "DE", None, "FR", "FR"]


def test_a_column_that_is_absent_is_missing_in_every_row() -> None:
    rows = rows_in(SPEC, batch(features={"age": [1, 2, 3]}), batch())
    assert np.isnan(rows.columns[1][:3]).all()
    assert rows.columns[2] == [None, None, None, "DE", None, "FR"]
    assert len(rows_in(SPEC, {"model": "m", "version": "1", "rows": 2, "score": [1, 0]})) == 2


def test_values_of_another_type_are_invalid_and_all_rows_are_kept() -> None:
    decoded = decode(SPEC, batch(features=COLUMNS | {"age": [1, "2", True], "country": [[], 2, "FR"]}), batch())
    rows = decoded.rows[0][1]
    assert rows.columns[0][:3].tolist() == [1.0, math.inf, math.inf]
    assert rows.columns[2][:3] == [INVALID, "2", "FR"]
    assert decoded.invalid == {("m", "1"): {"age": 2, "country": 1}}


def test_nan_in_a_column_is_missing() -> None:
    ages = rows_in(SPEC, batch(features=COLUMNS | {"age": [1, math.nan, math.inf]})).columns[0]
    assert math.isnan(ages[1])
    assert ages[2] == math.inf


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"features": COLUMNS | {"age": [1, 2]}}, "column 'age' has 2 entries, but `rows` is 3"),
        ({"features": COLUMNS | {"country": ["DE"] * 4}}, "column 'country' has 4 entries"),
        ({"features": COLUMNS | {"age": 5}}, "column 'age' is no list"),
        ({"score": [0.1]}, "`score` has 1 entries"),
        ({"prediction": ["a", "b"]}, "`prediction` has 2 entries"),
        ({"score": 0.5}, "`score` is no list"),
        ({"score": None, "probabilities": {"a": [1, 2, 3], "b": [1]}}, "column 'b' of `probabilities` has 1 entries"),
        ({"time": ["2024-05-01T12:00:00Z"]}, "`time` has 1 entries"),
        (
            {"rows": 100_000, "features": {}, "score": None, "prediction": None, "probabilities": {}},
            "the event has only",
        ),
        ({"score": None}, "needs `prediction`, `score` or `probabilities`"),
    ],
)
def test_a_batch_whose_columns_do_not_fit_is_refused_whole(fields: dict[str, Any], sentence: str) -> None:
    decoded = decode(SPEC, batch(), batch(**fields), batch())
    assert reasons(decoded) == {101: "invalid_event"}
    assert sentence in decoded.letters[0].detail
    assert decoded.rows[0][1].offsets.tolist() == [100] * 3 + [102] * 3


def test_a_short_event_cannot_make_us_allocate_for_millions_of_rows() -> None:
    wide = spec_of(*numbers(*(f"f{n}" for n in range(1_000))), features_from="features")
    sparse = {"model": "m", "version": "1", "rows": 20_000, "features": {"f0": [1] * 20_000}}
    decoded = decode(wide, sparse, source=Source.FEATURES)
    assert reasons(decoded) == {100: "invalid_event"}


def test_one_row_of_a_wide_model_may_be_nearly_empty() -> None:
    wide = spec_of(*numbers(*(f"f{n}" for n in range(5_000))))
    assert len(rows_in(wide, {"model": "m", "version": "1", "rows": 1, "prediction": [1], "features": {}})) == 1


def test_a_batch_has_one_time_or_one_for_each_row() -> None:
    assert set(rows_in(SPEC, batch(time="2024-05-01T11:00:00Z")).times) == {APPENDED - 3_600}
    own = ["2024-05-01T11:00:00Z", None, "2024-05-01T12:30:00+01:00"]
    assert rows_in(SPEC, batch(time=own)).times.tolist() == [APPENDED - 3_600, APPENDED, APPENDED - 1_800]
    assert set(rows_in(SPEC, batch()).times) == {APPENDED}


def test_one_bad_time_refuses_the_batch() -> None:
    times = ["2024-05-01T11:00:00Z", "yesterday", "2024-05-01T11:00:00Z"]
    decoded = decode(SPEC, batch(), batch(time=times), batch(time="1969-12-31T00:00:00Z"))
    assert reasons(decoded) == {101: "invalid_time", 102: "invalid_time"}
    assert "'yesterday'" in decoded.letters[0].detail


def test_the_stage_of_a_batch_is_that_of_its_rows() -> None:
    rows = rows_in(SPEC, batch(stage="shadow"), batch())
    assert [STAGES[stage].value for stage in rows.stages] == ["shadow"] * 3 + ["production"] * 3


def test_answers_come_from_the_columns_of_probabilities_where_the_score_is_missing() -> None:
    probabilities = {"no": [0.9, 0.8, 0.7], "yes": [0.1, 0.2, 0.3]}
    assert rows_in(SPEC, batch(score=None, probabilities=probabilities)).columns[4].tolist() == [0.1, 0.2, 0.3]
    assert rows_in(SPEC, batch(score=[0.5, None, 0.5], probabilities=probabilities)).columns[4].tolist() == [
        0.5,
        0.2,
        0.5,
    ]


def test_classes_of_a_batch_are_categories() -> None:
    spec = spec_of(prediction=PredictionSpec(output=Output.CLASS))
    event = {"model": "m", "version": "1", "rows": 3, "prediction": ["a", 2, None]}
    assert rows_in(spec, event).columns[0] == ["a", "2", None]


def test_a_column_without_values_for_the_spec_is_not_looked_at() -> None:
    assert same_rows(rows_in(SPEC, batch(features=COLUMNS | {"extra": [1]})), rows_in(SPEC, batch()))
