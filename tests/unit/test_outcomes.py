"""What a label says of a prediction."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_pinball_loss, precision_score, recall_score

from detector.outcomes import LEAST_PROBABILITY, errors, flags, log_losses, outcome_columns, positives, score_errors
from detector.rows import FALSE, INVALID, TRUE, Column
from schemas.model_spec import ModelSpec, PredictionSpec
from schemas.performance import Loss, OutcomeSpec
from tests.support.data import numbers, spec_of

SCORED = spec_of(*numbers("x"), prediction={"output": "score"}, outcomes=OutcomeSpec())
REGRESSION = spec_of(*numbers("x"), task="regression", prediction={"output": "number"}, outcomes=OutcomeSpec())


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


def losses_of(spec: ModelSpec, *pairs: object) -> dict[str, Column | None]:
    columns = outcome_columns(spec, *pairs)  # type: ignore[arg-type]
    return dict(zip(spec.signals[-len(columns) :], columns, strict=True))


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
    np.testing.assert_array_equal(positives(named, ["bad", "good", None]), [1.0, 0.0, np.nan])


def test_the_class_of_an_event_comes_before_its_score() -> None:
    assert outcome_columns(SCORED, ["1"], ["1"], np.array([0.1]))[1] == [FALSE]
    assert outcome_columns(SCORED, ["1"], None, np.array([0.1]))[1] == [TRUE]


def test_without_a_prediction_only_the_label_is_known() -> None:
    assert outcome_columns(SCORED, ["1"], None) == [["1"], None, None]


def test_nobody_carries_the_estimated_performance() -> None:
    assert losses_of(SCORED, ["1"], ["1"])["estimated_performance"] is None
    unwatched = SCORED.model_copy(update={"outcomes": OutcomeSpec(estimate=False)})
    assert "estimated_performance" not in losses_of(unwatched, ["1"], ["1"])


def test_the_loss_of_a_regression_is_its_distance_from_the_label() -> None:
    _, losses, _ = outcome_columns(REGRESSION, np.array([1.0, 2.0, np.nan]), np.array([3.0, 1.5, 1.0]))
    np.testing.assert_array_equal(losses, [2.0, 0.5, np.nan])


def test_a_model_without_a_prediction_has_a_label_and_no_loss() -> None:
    watched = spec_of(*numbers("x"), outcomes=OutcomeSpec())
    assert watched.signals == ("feature:x", "label")
    assert outcome_columns(watched, ["1"], None) == [["1"]]


def test_false_discoveries_and_misses_are_what_precision_and_recall_lack(rng: np.random.Generator) -> None:
    spec = SCORED.model_copy(update={"outcomes": OutcomeSpec(losses=(Loss.FALSE_DISCOVERY, Loss.MISS))})
    labels, predicted = ([str(each) for each in rng.integers(0, 2, 300).tolist()] for _ in range(2))
    found = losses_of(spec, labels, predicted)
    for loss, score in (("false_discovery", precision_score), ("miss", recall_score)):
        column = found[f"performance:{loss}"]
        assert isinstance(column, list)
        expected = 1 - score(labels, predicted, pos_label="1")
        assert np.nanmean(flags(column)) == pytest.approx(expected)


def test_a_conditional_loss_is_missing_where_its_condition_is_not_met() -> None:
    spec = SCORED.model_copy(update={"outcomes": OutcomeSpec(losses=(Loss.FALSE_DISCOVERY, Loss.MISS))})
    found = losses_of(spec, ["1", "1", "0", "0", None], ["1", "0", "1", "0", "1"])
    assert found["performance:false_discovery"] == [FALSE, None, TRUE, None, None]
    assert found["performance:miss"] == [FALSE, TRUE, None, None, None]


def test_log_loss_and_brier_are_those_of_the_probability_given_to_what_came_true(rng: np.random.Generator) -> None:
    spec = SCORED.model_copy(update={"outcomes": OutcomeSpec(losses=(Loss.LOG_LOSS, Loss.BRIER))})
    scores, y = rng.random(200), rng.integers(0, 2, 200)
    found = losses_of(spec, [str(each) for each in y.tolist()], None, scores)
    assert np.mean(found["performance:log_loss"]) == pytest.approx(log_loss(y, scores))  # type: ignore[arg-type]
    assert np.mean(found["performance:brier"]) == pytest.approx(np.mean((scores - y) ** 2))  # type: ignore[arg-type]


def test_a_probability_of_zero_for_what_came_true_costs_a_lot_and_not_infinitely_much() -> None:
    assert log_losses(np.array([0.0]), np.array([1.0])) == pytest.approx(-np.log(LEAST_PROBABILITY))


def test_numbers_can_cost_their_square_or_what_a_quantile_forecast_costs(rng: np.random.Generator) -> None:
    outcomes = OutcomeSpec(losses=(Loss.SQUARED_ERROR, Loss.PINBALL), quantile=0.9)
    spec = REGRESSION.model_copy(update={"outcomes": outcomes})
    y, forecast = rng.normal(size=(2, 100))
    found = losses_of(spec, y, forecast)
    np.testing.assert_allclose(np.asarray(found["performance:squared_error"]), (y - forecast) ** 2)
    pinball = np.mean(np.asarray(found["performance:pinball"], dtype=float))
    assert pinball == pytest.approx(mean_pinball_loss(y, forecast, alpha=0.9))
