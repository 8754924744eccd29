"""What a label says of a prediction."""

from __future__ import annotations

import numpy as np

from detector.outcomes import errors, outcome_columns, score_errors
from detector.rows import FALSE, INVALID, TRUE
from schemas.model_spec import PredictionSpec
from schemas.performance import OutcomeSpec
from tests.support.data import numbers, spec_of

SCORED = spec_of(*numbers("x"), prediction={"output": "score"}, outcomes=OutcomeSpec())
REGRESSION = spec_of(*numbers("x"), task="regression", prediction={"output": "number"}, outcomes=OutcomeSpec())


def test_an_error_is_another_class_than_the_one_predicted() -> None:
    assert errors(["a", "b", "b"], ["a", "a", "b"]) == [FALSE, TRUE, FALSE]


def test_a_loss_is_missing_where_the_label_or_the_prediction_is_unknown() -> None:
    assert errors([None, "a", INVALID, "a"], ["a", None, "a", INVALID]) == [None] * 4


def test_a_score_predicts_the_positive_class_from_the_threshold_on() -> None:
    assert score_errors(SCORED, ["1", "1", "0", "0"], np.array([0.5, 0.49, 0.5, 0.49])) == [FALSE, TRUE, TRUE, FALSE]
    stricter = SCORED.model_copy(update={"outcomes": OutcomeSpec(threshold=0.8)})
    assert score_errors(stricter, ["1", "0"], np.array([0.7, 0.7])) == [TRUE, FALSE]


def test_the_positive_class_is_the_one_that_the_spec_names() -> None:
    named = SCORED.model_copy(update={"prediction": PredictionSpec(output="score", positive_class="bad")})
    assert score_errors(named, ["bad", "good"], np.array([0.9, 0.9])) == [FALSE, TRUE]


def test_the_class_of_an_event_comes_before_its_score() -> None:
    assert outcome_columns(SCORED, ["1"], ["1"], np.array([0.1]))[1] == [FALSE]
    assert outcome_columns(SCORED, ["1"], None, np.array([0.1]))[1] == [TRUE]


def test_without_a_prediction_only_the_label_is_known() -> None:
    assert outcome_columns(SCORED, ["1"], None) == [["1"], None]


def test_the_loss_of_a_regression_is_its_distance_from_the_label() -> None:
    _, losses = outcome_columns(REGRESSION, np.array([1.0, 2.0, np.nan]), np.array([3.0, 1.5, 1.0]))
    np.testing.assert_array_equal(losses, [2.0, 0.5, np.nan])


def test_a_model_without_a_prediction_has_a_label_and_no_loss() -> None:
    watched = spec_of(*numbers("x"), outcomes=OutcomeSpec())
    assert watched.signals == ("feature:x", "label")
    assert outcome_columns(watched, ["1"], None) == [["1"]]
