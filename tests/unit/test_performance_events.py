"""Performance in the life of a model: from labelled rows to events and status, as the judge sees them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from agents.backtest import Backtest
from detector.judge import ModelJudge
from detector.reference import freeze
from detector.rows import Source
from schemas.model_spec import ESTIMATED_PERFORMANCE, ModelSpec
from schemas.outbound import BEYOND_LIMIT, DriftEvent, DriftKind, Tier
from schemas.performance import Loss, Metric
from tests.support.data import MONDAY
from tests.support.pairs import drawn, frozen_pairs, logistic, pair_rows, scored

Floats = NDArray[np.float64]
ROWS = 6_000


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def model(rng: np.random.Generator, **outcomes: object) -> ModelSpec:
    x, scores, labels = drawn_rows(ROWS, rng)
    return frozen_pairs(scored(**outcomes), {"x": x}, scores, labels)


def drawn_rows(
    n: int, rng: np.random.Generator, *, spread: float = 2.0, slope: float = 1.0
) -> tuple[Floats, Floats, list[str]]:
    x = rng.normal(size=n) * spread
    return x, logistic(x), drawn(logistic(slope * x), rng)


Piece = tuple[Floats, Floats, list[str]]


def play(spec: ModelSpec, *pieces: Piece, labelled: bool = True) -> tuple[Backtest, list[DriftEvent]]:
    """Feed rows as a file would bring them, one in ten seconds."""
    x, scores = (np.concatenate([piece[i] for piece in pieces]) for i in (0, 1))
    labels: list[str | None] = [label if labelled else None for piece in pieces for label in piece[2]]
    times = MONDAY + 10.0 * np.arange(len(x))
    predictions, outcomes = pair_rows(spec, {"x": x}, scores, labels, times=times)
    columns = tuple(a if a is not None else b for a, b in zip(predictions.columns, outcomes.columns, strict=True))
    backtest = Backtest(spec, {Source.PREDICTIONS: "rows", Source.OUTCOMES: "labels"}, 50)
    return backtest, [*backtest.feed(replace(predictions, columns=columns)), *backtest.fold()]


def test_a_limit_opens_an_incident_with_the_tier_of_the_spec(rng: np.random.Generator) -> None:
    spec = model(rng, limits={"accuracy": 0.9}, limit_tier="moderate")
    _, events = play(spec, drawn_rows(3_000, rng))
    verdict = events[0].signals[0]
    assert (events[0].tier, verdict.signal, verdict.kind) == (Tier.MODERATE, "limit:accuracy", DriftKind.PERFORMANCE)
    assert (verdict.score_name, verdict.expected_mean) == (BEYOND_LIMIT, 0.9)
    assert verdict.actual_mean == pytest.approx(0.9 - verdict.score, abs=1e-6)
    assert verdict.score_interval is not None
    assert verdict.score_interval[0] < verdict.score < verdict.score_interval[1]
    assert "limit:accuracy (" in events[0].summary
    assert "beyond its limit" in events[0].summary


def test_a_change_of_the_concept_is_seen_by_the_losses_and_not_by_the_estimate(rng: np.random.Generator) -> None:
    spec = model(rng, losses=[Loss.LOG_LOSS, Loss.MISS])
    _, events = play(spec, drawn_rows(2_000, rng), drawn_rows(2_000, rng, slope=-0.5))
    fired = {verdict.signal for event in events for verdict in event.signals}
    assert {"performance:error", "performance:log_loss", "performance:miss"} <= fired
    assert ESTIMATED_PERFORMANCE not in fired


def test_harder_rows_are_seen_by_the_estimate_before_any_label_and_the_event_says_what_it_is_blind_to(
    rng: np.random.Generator,
) -> None:
    spec = model(rng)
    _, events = play(spec, drawn_rows(2_000, rng), drawn_rows(2_000, rng, spread=0.6), labelled=False)
    verdict = next(each for event in events for each in event.signals if each.signal == ESTIMATED_PERFORMANCE)
    assert verdict.blind_to == (DriftKind.CONCEPT,)
    assert (verdict.kind, verdict.score_name) == (DriftKind.PERFORMANCE, "increase")
    assert verdict.actual_mean > verdict.expected_mean  # type: ignore[operator]


def test_easier_rows_are_no_drift_of_performance(rng: np.random.Generator) -> None:
    spec = model(rng, losses=[Loss.LOG_LOSS])
    _, events = play(spec, drawn_rows(2_000, rng), drawn_rows(3_000, rng, spread=6.0))
    kinds = {verdict.kind for event in events for verdict in event.signals}
    assert kinds
    assert DriftKind.PERFORMANCE not in kinds


def test_events_of_performance_carry_the_metrics_and_others_do_not(rng: np.random.Generator) -> None:
    spec = model(rng)
    _, events = play(spec, drawn_rows(2_000, rng, slope=-0.5))
    assert {each.metric for each in events[-1].performance} >= {Metric.ACCURACY, Metric.AUC, Metric.LOG_LOSS}
    x, scores, labels = drawn_rows(2_000, rng)
    _, events = play(spec, (x + 9.0, scores, labels))
    assert events[0].performance == ()


def test_a_stable_model_with_every_loss_and_limits_that_it_keeps_raises_nothing(rng: np.random.Generator) -> None:
    limits = {"accuracy": 0.72, "auc": 0.8, "log_loss": 0.55, "f1": 0.72, "calibration_error": 0.05}
    spec = model(rng, losses=list(Loss)[1:5], limits=limits)
    for _ in range(3):
        _, events = play(spec, drawn_rows(10_000, rng))
        assert events == []


def test_a_reference_without_labels_watches_features_and_says_why_it_cannot_judge_the_rest(
    rng: np.random.Generator,
) -> None:
    x, scores, labels = drawn_rows(ROWS, rng)
    spec = freeze(scored(), pair_rows(scored(), {"x": x}, scores, labels)[:1], origin="test")
    backtest, events = play(spec, (x, scores, labels))
    assert events == []
    reasons = {each.signal: each.not_judged for each in backtest.status()[0].signals}
    assert reasons["feature:x"] is None
    assert all(reasons[signal] for signal in ("label", "performance:error", ESTIMATED_PERFORMANCE))
    accuracy = backtest.status()[0].performance[0]
    assert (accuracy.reference, accuracy.estimate) == (None, None)
    assert accuracy.value is not None


def test_a_successor_in_the_midst_of_it_says_the_same(rng: np.random.Generator) -> None:
    spec = model(rng, losses=[Loss.BRIER], limits={"accuracy": 0.78, "auc": 0.8})
    backtest, _ = play(spec, drawn_rows(1_500, rng), drawn_rows(500, rng, slope=-0.5))
    judge = backtest._judge
    assert ModelJudge.restore(spec, judge.state()).status() == judge.status()


def test_a_saved_state_from_before_there_were_metrics_can_be_taken_up(rng: np.random.Generator) -> None:
    backtest, _ = play(model(rng), drawn_rows(500, rng))
    monitor = next(iter(backtest._judge._monitors.values()))
    state = {name: part for name, part in monitor.state().items() if name not in ("limits", "report")}
    monitor.restore(state)
    assert monitor.state()["rows"] == state["rows"]
