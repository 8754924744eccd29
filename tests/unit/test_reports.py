"""What is said of performance: recent metrics, the reference's, and what is expected while labels are to come."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from detector.layout import Layout
from detector.reports import PerformanceReport
from schemas.model_spec import ModelSpec
from schemas.outbound import MetricStatus
from schemas.performance import Metric
from tests.support.data import numbers, spec_of
from tests.support.pairs import classified, counted, drawn, frozen_pairs, logistic, pair_rows, regression, scored

Floats = NDArray[np.float64]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(31)


def rows_of(n: int, rng: np.random.Generator, *, spread: float = 2.0, slope: float = 1.0) -> tuple[Floats, list[str]]:
    """Scores and labels; a smaller spread makes rows harder, another slope is another concept."""
    x = rng.normal(size=n) * spread
    return logistic(x), drawn(logistic(slope * x), rng)


def layout_of(rng: np.random.Generator, **outcomes: object) -> Layout:
    scores, labels = rows_of(10_000, rng)
    return Layout(frozen_pairs(scored(**outcomes), {"x": np.zeros(10_000)}, scores, labels))


def add(report: PerformanceReport, layout: Layout, scores: Floats, labels: list[str], *, labelled: bool = True) -> None:
    rows = pair_rows(layout.spec, {"x": np.zeros(len(labels))}, scores, labels)
    report.add(counted(layout, rows[:1]))
    if labelled:
        report.add(counted(layout, rows[1:]))


def of(report: PerformanceReport, metric: Metric) -> MetricStatus:
    return next(each for each in report.metrics() if each.metric is metric)


def test_each_metric_stands_beside_the_references_and_its_limit(rng: np.random.Generator) -> None:
    layout = layout_of(rng, limits={"accuracy": 0.75})
    report = PerformanceReport(layout)
    add(report, layout, *rows_of(2_000, rng))
    accuracy = of(report, Metric.ACCURACY)
    assert accuracy.limit == 0.75
    assert accuracy.interval is not None
    assert accuracy.interval[0] < accuracy.reference < accuracy.interval[1]  # type: ignore[operator]
    assert accuracy.rows == 2_000
    assert [each.metric for each in report.metrics()] == [
        "accuracy", "precision", "recall", "f1", "auc", "log_loss", "brier", "calibration_error"
    ]  # fmt: skip


def test_before_the_first_label_there_is_an_estimate_and_no_value(rng: np.random.Generator) -> None:
    layout = layout_of(rng)
    report = PerformanceReport(layout)
    add(report, layout, *rows_of(2_000, rng), labelled=False)
    accuracy = of(report, Metric.ACCURACY)
    assert (accuracy.value, accuracy.interval, accuracy.rows, accuracy.correction) == (None, None, 0.0, None)
    assert accuracy.estimate == pytest.approx(accuracy.reference, abs=0.02)


def test_the_estimate_follows_the_predictions_and_not_the_labels(rng: np.random.Generator) -> None:
    layout = layout_of(rng)
    report = PerformanceReport(layout)
    scores, labels = rows_of(8_000, rng, spread=0.5)
    add(report, layout, scores, labels, labelled=False)
    truth = np.mean([(score >= 0.5) == (label == "1") for score, label in zip(scores, labels, strict=True)])
    assert of(report, Metric.ACCURACY).estimate == pytest.approx(truth, abs=0.02)
    assert of(report, Metric.AUC).estimate == pytest.approx(PerformanceOf(layout, scores, labels)[Metric.AUC], abs=0.02)


class PerformanceOf(dict[Metric, float]):
    """Realised metrics of rows."""

    def __init__(self, layout: Layout, scores: Floats, labels: list[str]) -> None:
        report = PerformanceReport(layout)
        add(report, layout, scores, labels)
        super().__init__({each.metric: each.value or 0.0 for each in report.metrics()})


def test_the_estimate_cannot_see_that_the_concept_changed_until_labels_correct_it(rng: np.random.Generator) -> None:
    layout = layout_of(rng)
    report = PerformanceReport(layout)
    before = rows_of(6_000, rng, slope=-1.0)
    add(report, layout, *before, labelled=False)
    blind = of(report, Metric.ACCURACY)
    add(report, layout, *before)
    taught = of(report, Metric.ACCURACY)
    assert blind.estimate == pytest.approx(blind.reference, abs=0.02)
    assert taught.estimate == pytest.approx(taught.value, abs=0.02)
    assert taught.correction == pytest.approx(taught.estimate - blind.estimate, abs=0.01)  # type: ignore[operator]


def test_a_gap_that_may_be_chance_corrects_little(rng: np.random.Generator) -> None:
    layout = layout_of(rng)
    corrections = []
    for _ in range(60):
        report = PerformanceReport(layout)
        add(report, layout, *rows_of(500, rng))
        status = of(report, Metric.ACCURACY)
        corrections.append((status.correction, status.value, status.estimate))
    raw = np.array([value - (estimate - correction) for correction, value, estimate in corrections])  # type: ignore[operator]
    assert np.abs([correction for correction, *_ in corrections]).mean() < 0.5 * np.abs(raw).mean()  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_interval_of_an_estimate_holds_what_comes_true(rng: np.random.Generator) -> None:
    layout = layout_of(rng)
    held = 0
    for _ in range(200):
        scores, labels = rows_of(400, rng, spread=float(rng.choice([0.7, 2.0])))
        report = PerformanceReport(layout)
        add(report, layout, scores, labels, labelled=False)
        low, high = of(report, Metric.ACCURACY).estimate_interval or (0, 0)
        held += low <= PerformanceOf(layout, scores, labels)[Metric.ACCURACY] <= high
    assert held >= stats.binom.ppf(0.001, 200, 0.94)


def test_numbers_and_classes_are_estimated_too(rng: np.random.Generator) -> None:
    x = rng.uniform(0, 10, 8_000)
    spec = frozen_pairs(regression(), {"x": x}, x, x + rng.normal(size=8_000) * (1 + x))
    report = PerformanceReport(Layout(spec))
    hard = rng.uniform(8, 10, 4_000)
    add_numbers(report, spec, hard, hard + rng.normal(size=4_000) * (1 + hard))
    assert of(report, Metric.MAE).estimate == pytest.approx(of(report, Metric.MAE).value, rel=0.05)

    labels = [str(each) for each in rng.choice(["a", "b"], 4_000)]
    predicted = [label if rng.random() < 0.8 else "a" for label in labels]
    of_classes = frozen_pairs(classified(), {"x": np.zeros(4_000)}, predicted, labels)
    report = PerformanceReport(Layout(of_classes))
    rows = pair_rows(of_classes, {"x": np.zeros(4_000)}, predicted, labels)
    report.add(counted(Layout(of_classes), rows))
    accuracy = of(report, Metric.ACCURACY)
    assert accuracy.estimate == pytest.approx(accuracy.value, abs=0.005)
    assert of(report, Metric.F1).estimate is None


def add_numbers(report: PerformanceReport, spec: ModelSpec, forecast: Floats, y: Floats) -> None:
    layout = Layout(spec)
    rows = pair_rows(spec, {"x": forecast}, forecast, y)
    report.add(counted(layout, rows[:1]))
    report.add(counted(layout, rows[1:]))


def test_a_model_without_labels_reports_no_metric(rng: np.random.Generator) -> None:
    spec = spec_of(*numbers("x"), prediction={"output": "score"})
    spec = frozen_pairs(spec, {"x": np.zeros(500)}, rng.random(500), ["1"] * 500)
    report = PerformanceReport(Layout(spec))
    report.add(np.zeros(Layout(spec).width, dtype=np.int64))
    assert report.metrics() == ()


def test_burstier_rows_make_wider_intervals(rng: np.random.Generator) -> None:
    layout = layout_of(rng)
    report = PerformanceReport(layout)
    add(report, layout, *rows_of(2_000, rng))
    plain, bursty = report.metrics(1.0)[0], report.metrics(9.0)[0]
    assert plain.value == bursty.value
    assert bursty.interval[1] - bursty.interval[0] == pytest.approx(
        3 * (plain.interval[1] - plain.interval[0]), rel=0.1
    )  # type: ignore[index]


def test_a_successor_reports_the_same(rng: np.random.Generator) -> None:
    layout = layout_of(rng)
    one, other = PerformanceReport(layout), PerformanceReport(layout)
    add(one, layout, *rows_of(700, rng))
    other.restore(one.state())
    more = rows_of(300, rng)
    for report in (one, other):
        add(report, layout, *more)
    assert one.metrics() == other.metrics()
