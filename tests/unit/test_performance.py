"""Metrics from additive counts: the same values as from the rows themselves, with intervals that hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as direct

from detector.layout import Layout
from detector.performance import Measure, PairTables, measure_pairs, measure_tables, wilson
from schemas.model_spec import ModelSpec
from schemas.performance import Metric
from tests.support.pairs import classified, counted, drawn, frozen_pairs, logistic, pair_rows, regression, scored

Floats = NDArray[np.float64]


def measured(spec: ModelSpec, *rows: Any, **more: Any) -> dict[Metric, Measure]:
    layout = Layout(frozen_pairs(spec, *rows, **more))
    return measure_pairs(layout.pairs, counted(layout, pair_rows(layout.spec, *rows, **more)))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def binary(rng: np.random.Generator) -> tuple[Floats, list[str]]:
    x = rng.normal(size=3_000) * 2
    return logistic(x), drawn(logistic(1.3 * x - 0.2), rng)


def test_metrics_of_classes_are_those_of_the_rows(binary: tuple[Floats, list[str]]) -> None:
    scores, labels = binary
    found = measured(scored(), {"x": scores}, scores, labels)
    y, predicted = np.array([int(label) for label in labels]), (scores >= 0.5).astype(int)
    for metric, formula in (
        (Metric.ACCURACY, direct.accuracy_score),
        (Metric.PRECISION, direct.precision_score),
        (Metric.RECALL, direct.recall_score),
        (Metric.F1, direct.f1_score),
    ):
        assert found[metric].value == pytest.approx(formula(y, predicted))


def test_log_loss_and_brier_are_exact_to_the_unit_they_are_counted_in(binary: tuple[Floats, list[str]]) -> None:
    scores, labels = binary
    found = measured(scored(), {"x": scores}, scores, labels)
    y = np.array([int(label) for label in labels])
    assert found[Metric.LOG_LOSS].value == pytest.approx(direct.log_loss(y, scores), abs=1e-6)
    assert found[Metric.BRIER].value == pytest.approx(direct.brier_score_loss(y, scores), abs=1e-6)


def test_auc_of_scores_with_two_digits_is_exact_and_of_others_close(binary: tuple[Floats, list[str]]) -> None:
    scores, labels = binary
    y = np.array([int(label) for label in labels])
    rounded = np.round(scores, 2)
    for each, tolerance in ((rounded, 1e-12), (scores, 1e-3)):
        found = measured(scored(), {"x": each}, each, labels)
        assert found[Metric.AUC].value == pytest.approx(direct.roc_auc_score(y, each), abs=tolerance)


def test_the_auc_of_a_rare_class_with_tiny_scores_can_be_read_from_fine_bins(rng: np.random.Generator) -> None:
    scores = np.exp(rng.normal(-7, 1.5, 20_000)).clip(0, 1)
    labels = drawn(scores, rng)
    y = np.array([int(label) for label in labels])
    found = measured(scored(), {"x": scores}, scores, labels)
    assert found[Metric.AUC].value == pytest.approx(direct.roc_auc_score(y, scores), abs=0.02)


def test_the_interval_of_an_auc_is_that_of_delong(binary: tuple[Floats, list[str]]) -> None:
    scores, labels = np.round(binary[0], 2), binary[1]
    y = np.array([label == "1" for label in labels])
    placed = (scores[y][:, None] > scores[~y][None, :]) + 0.5 * (scores[y][:, None] == scores[~y][None, :])
    error = np.sqrt(placed.mean(axis=1).var(ddof=1) / y.sum() + placed.mean(axis=0).var(ddof=1) / (~y).sum())
    assert measured(scored(), {"x": scores}, scores, labels)[Metric.AUC].error == pytest.approx(error, rel=1e-9)


def test_a_calibration_error_is_the_mean_distance_less_what_chance_makes(rng: np.random.Generator) -> None:
    scores = rng.random(40_000)
    off = measured(scored(), {"x": scores}, scores, drawn(np.clip(scores + 0.1, 0, 1), rng))
    right = measured(scored(), {"x": scores}, scores, drawn(scores, rng))
    group = np.minimum((scores * 10).astype(int), 9)
    expected = np.mean([(np.clip(scores + 0.1, 0, 1) - scores)[group == k].mean() for k in range(10)])
    assert off[Metric.CALIBRATION_ERROR].value == pytest.approx(expected, abs=0.006)
    assert right[Metric.CALIBRATION_ERROR].value < 0.003
    few = measured(scored(), {"x": scores[:1_000]}, scores[:1_000], drawn(scores[:1_000], rng))
    assert few[Metric.CALIBRATION_ERROR].value < 0.025  # 0.033 by chance, if nothing were subtracted


def test_metrics_of_several_classes_are_means_over_them(rng: np.random.Generator) -> None:
    labels = [str(each) for each in rng.choice(["a", "b", "c"], 2_000, p=[0.6, 0.3, 0.1])]
    predicted = [label if rng.random() < 0.7 else str(rng.choice(["a", "b", "c"])) for label in labels]
    found = measured(classified(), {"x": rng.normal(size=2_000)}, predicted, labels)
    for metric, formula in (
        (Metric.PRECISION, direct.precision_score),
        (Metric.RECALL, direct.recall_score),
        (Metric.F1, direct.f1_score),
    ):
        assert found[metric].value == pytest.approx(formula(labels, predicted, average="macro"))
    assert found[Metric.ACCURACY].value == pytest.approx(direct.accuracy_score(labels, predicted))


def test_metrics_of_numbers_are_those_of_the_rows(rng: np.random.Generator) -> None:
    y = rng.normal(50, 12, 2_000)
    forecast = y + rng.normal(1, 4, 2_000)
    found = measured(regression(quantile=0.8), {"x": y}, forecast, y)
    assert found[Metric.MAE].value == pytest.approx(direct.mean_absolute_error(y, forecast), rel=1e-6)
    assert found[Metric.MSE].value == pytest.approx(direct.mean_squared_error(y, forecast), rel=1e-5)
    assert found[Metric.RMSE].value == pytest.approx(direct.root_mean_squared_error(y, forecast), rel=1e-5)
    assert found[Metric.PINBALL].value == pytest.approx(direct.mean_pinball_loss(y, forecast, alpha=0.8), rel=1e-5)


def test_the_interval_of_a_share_is_wilsons() -> None:
    for hits, rows in ((0, 20), (13, 50), (50, 50)):
        theirs = stats.binomtest(hits, rows).proportion_ci(0.95, method="wilson")
        ours = wilson(hits, rows)
        assert ours is not None
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_what_has_no_rows_is_not_reported() -> None:
    nothing = PairTables(np.zeros((2, 2)), np.zeros((111, 2)), np.zeros(111), np.zeros(4), np.zeros(0))
    assert measure_tables(nothing, tuple(metric for metric in Metric if metric not in REGRESSION)) == {}


REGRESSION = {Metric.MAE, Metric.MSE, Metric.RMSE, Metric.PINBALL}


@pytest.mark.slow
@pytest.mark.parametrize("metric", [Metric.ACCURACY, Metric.F1, Metric.AUC, Metric.LOG_LOSS, Metric.BRIER])
def test_intervals_of_scores_hold_the_truth_in_95_percent(metric: Metric, rng: np.random.Generator) -> None:
    x = rng.normal(size=400_000) * 2
    p = logistic(x)
    spec = scored(estimate=False)
    layout = Layout(frozen_pairs(spec, {"x": x[:2_000]}, p[:2_000], drawn(p[:2_000], rng)))
    truth = measure_pairs(layout.pairs, counted(layout, pair_rows(spec, {"x": x}, p, drawn(p, rng))))[metric].value
    held = 0
    for _ in range(300):
        z = logistic(rng.normal(size=500) * 2)
        found = measure_pairs(layout.pairs, counted(layout, pair_rows(spec, {"x": z}, z, drawn(z, rng))))[metric]
        held += found.low <= truth <= found.high
    assert held >= stats.binom.ppf(0.001, 300, 0.94)


@pytest.mark.slow
def test_intervals_of_means_over_classes_hold_the_truth_in_95_percent(rng: np.random.Generator) -> None:
    shares = np.array([[0.5, 0.05, 0.02], [0.05, 0.2, 0.03], [0.01, 0.04, 0.1]])
    table = PairTables(shares * 1e6, np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0))
    chosen = (Metric.PRECISION, Metric.RECALL, Metric.F1)
    truth = measure_tables(table, chosen)
    held = dict.fromkeys(chosen, 0)
    for _ in range(400):
        cells = rng.multinomial(600, shares.ravel() / shares.sum()).reshape(3, 3).astype(float)
        for metric, each in measure_tables(
            PairTables(cells, table.by_score, np.zeros(0), np.zeros(0), np.zeros(0)), chosen
        ).items():
            held[metric] += each.low <= truth[metric].value <= each.high
    assert min(held.values()) >= stats.binom.ppf(0.001, 400, 0.94)
