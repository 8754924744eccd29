"""Drafting a spec from values."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from detector.inference import Answers, infer_spec
from schemas.model_spec import ColumnNames, FeatureType, ModelSpec, Output, Seasonality, Task

NUMBER, CATEGORY, BOOLEAN = FeatureType.NUMBER, FeatureType.CATEGORY, FeatureType.BOOLEAN


def types(columns: dict[str, Any], **options: Any) -> dict[str, FeatureType]:
    spec, _ = infer_spec({"known": [0.5, 0.25]} | columns, "m", "1", **options)
    return {feature.name: feature.type for feature in spec.features if feature.name != "known"}


def notes(columns: dict[str, Any], **options: Any) -> str:
    return "\n".join(infer_spec({"known": [0.5, 0.25]} | columns, "m", "1", **options)[1])


def answered(task: Task | None = None, **answers: Any) -> tuple[Task, Output | None]:
    spec, _ = infer_spec({"known": [0.5, 0.25]}, "m", "1", task=task, answers=Answers(**answers))
    return spec.task, None if spec.prediction is None else spec.prediction.output


# ------------------------------------------------------------------------------------------------ features


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.5, 2.5, None], NUMBER),
        ([1, 0, 1, 1], NUMBER),
        (np.array([1, 2, 3]), NUMBER),
        (np.array([1.0, np.nan], dtype=np.float32), NUMBER),
        ([True, False, None], BOOLEAN),
        (np.array([True, False]), BOOLEAN),
        (["a", "b", None, "a"], CATEGORY),
        (np.array(["a", "b"]), CATEGORY),
        (["007", "008", "007"], CATEGORY),
        (["true", "false"], CATEGORY),
    ],
)
def test_types_follow_the_values(values: Any, kind: FeatureType) -> None:
    assert types({"x": values}) == {"x": kind}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1.5", " 2 ", None, "-3e4"], NUMBER),
        (["true", "False"], BOOLEAN),
        (["1", "two"], CATEGORY),
        (["1_000", "2"], CATEGORY),
        (["inf", "1"], CATEGORY),
    ],
)
def test_text_of_a_source_without_types_is_read(values: Any, kind: FeatureType) -> None:
    assert types({"x": values}, typed=False) == {"x": kind}


def test_features_stand_in_the_order_of_the_columns() -> None:
    assert list(types({"b": [1], "a": [2], "c": ["x"]})) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([None, float("nan")], "it has no value"),
        (np.array([np.nan, np.nan]), "it has no value"),
        ([[1, 2], [3]], "lists and objects cannot be binned"),
        ([f"user-{i}" for i in range(50)], "50 different texts in 50 rows look like an id"),
        (list(range(100, 150)), "whole numbers that rise"),
        (["2024-01-31", "2024-02-01T10:00:00Z"], "it is a time"),
        ([date(2024, 1, 31)], "it is a time"),
        (np.array(["2024-01-31"], dtype="datetime64[ns]"), "it is a time"),
    ],
)
def test_what_cannot_be_a_feature_is_left_out_and_said(values: Any, why: str) -> None:
    assert types({"x": values}) == {}
    assert "left out 'x'" in notes({"x": values})
    assert why in notes({"x": values})


def test_a_few_texts_that_differ_are_not_yet_an_id() -> None:
    assert types({"city": ["Rome", "Oslo", "Bonn"]}) == {"city": CATEGORY}


def test_whole_numbers_that_fall_once_are_no_row_number() -> None:
    assert types({"x": [*range(50), 0]}) == {"x": NUMBER}


def test_the_most_frequent_kind_wins_and_the_rest_is_told() -> None:
    mixed = {"x": [1.0, 2.0, "n/a", 3.0]}
    assert types(mixed) == {"x": NUMBER}
    assert "1 of 4 values are not number" in notes(mixed)


def test_columns_of_a_file_with_a_role_are_no_features() -> None:
    roles = {name: [1.0, 0.0] for name in ColumnNames().model_dump().values()}
    assert types(roles) == {}
    renamed = ColumnNames(label="repaid", time="timestamp")
    assert types({"repaid": [1.0, 0.0], "timestamp": [5, 6], "label": [2.0, 3.0]}, names=renamed) == {"label": NUMBER}


def test_every_column_of_events_is_a_feature() -> None:
    assert types({"time": [1.0], "label": ["x"]}, answers=Answers()) == {"time": NUMBER, "label": CATEGORY}


# ----------------------------------------------------------------------------------------------- prediction


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"score": [0.1, 0.9]}, (Task.BINARY, Output.SCORE)),
        ({"score": [0.1, 0.9], "prediction": [0, 1]}, (Task.BINARY, Output.SCORE)),
        ({"prediction": [0, 1, 1]}, (Task.BINARY, Output.CLASS)),
        ({"prediction": [True, False]}, (Task.BINARY, Output.CLASS)),
        ({"prediction": ["no", "yes"]}, (Task.BINARY, Output.CLASS)),
        ({"prediction": ["cat", "dog", "cow"]}, (Task.MULTICLASS, Output.CLASS)),
        ({"prediction": [1, 2, 3] * 50}, (Task.MULTICLASS, Output.CLASS)),
        ({"prediction": [3, 17, 12]}, (Task.REGRESSION, Output.NUMBER)),
        ({"prediction": [3.5, 17.25]}, (Task.REGRESSION, Output.NUMBER)),
        ({"probabilities": [{"no": 0.2, "yes": 0.8}]}, (Task.BINARY, Output.SCORE)),
        ({"probabilities": [{"a": 0.2, "b": 0.8}, None, {"c": 1.0}]}, (Task.MULTICLASS, Output.CLASS)),
    ],
)
def test_the_answers_tell_the_task_and_what_is_watched(answers: dict[str, Any], expected: object) -> None:
    assert answered(**answers) == expected


def test_a_task_that_is_given_is_not_guessed() -> None:
    assert answered(Task.REGRESSION, prediction=[0, 1, 1]) == (Task.REGRESSION, Output.NUMBER)
    assert answered(Task.MULTICLASS, prediction=[0, 1, 1]) == (Task.MULTICLASS, Output.CLASS)


def test_labels_tell_the_task_where_nothing_was_answered() -> None:
    spec, told = infer_spec({"x": [0.5, 0.1, 0.2], "label": ["a", "b", "c"]}, "m", "1")
    assert (spec.task, spec.prediction) == (Task.MULTICLASS, None)
    assert told == ("no predictions were found: only features are watched",)


def test_probabilities_under_the_name_of_predictions_are_pointed_out() -> None:
    told = notes({"prediction": [0.1, 0.75, 0.8]})
    assert "name their column as the score" in told


def test_settings_of_the_spec_are_taken_over() -> None:
    spec, _ = infer_spec({"x": [0.5]}, "m", "7", owner="risk", seasonality=Seasonality.WEEKLY)
    assert (spec.version, spec.owner, spec.seasonality) == ("7", "risk", Seasonality.WEEKLY)
    assert isinstance(spec, ModelSpec)


def test_with_nothing_left_to_watch_there_is_no_spec() -> None:
    with pytest.raises(ValueError, match="nothing to watch"):
        infer_spec({"x": [None]}, "m", "1")
