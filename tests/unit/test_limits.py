"""Absolute limits: when one is surely broken, and how rarely that is said wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from detector.bets import BET_UNIT, LAMBDAS, LossBets, payoffs
from detector.layout import Layout
from detector.limits import Limits
from schemas.model_spec import ModelSpec
from schemas.outbound import Tier
from schemas.performance import Loss, Metric
from tests.support.pairs import classified, counted, drawn, frozen_pairs, logistic, pair_rows, regression, scored

Floats = NDArray[np.float64]
THRESHOLD = 12.0


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(12)


def layout_of(spec: ModelSpec, rng: np.random.Generator) -> Layout:
    """Any reference will do: a limit knows none."""
    n = 500
    if spec.task == "regression":
        return Layout(frozen_pairs(spec, {"x": np.zeros(n)}, rng.normal(size=n), rng.normal(size=n)))
    scores = rng.random(n)
    return Layout(frozen_pairs(spec, {"x": np.zeros(n)}, scores, drawn(scores, rng)))


def feed(limits: Limits, layout: Layout, scores: Floats, labels: list[str] | Floats, rows: int = 50) -> int | None:
    """Feed steps; return the rows after which a limit was broken."""
    for start in range(0, len(scores), rows):
        part = slice(start, start + rows)
        found = pair_rows(layout.spec, {"x": np.zeros(len(scores[part]))}, scores[part], labels[part])
        limits.step(counted(layout, found), 1.0)
        if any(reading.tier is not Tier.NONE for reading in limits.readings()):
            return start + rows
    return None


# Bets


@given(st.floats(0.05, 0.95), st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4).filter(lambda p: sum(p) > 0.1))
def test_a_bet_pays_on_average_exactly_where_the_metric_is_below_its_limit(limit: float, cells: list[float]) -> None:
    shares = np.array(cells) / sum(cells)
    tn, fn, fp, tp = shares  # predicted x true
    for metric, above, below in (
        (Metric.ACCURACY, tp + tn, 1.0),
        (Metric.PRECISION, tp, tp + fp),
        (Metric.RECALL, tp, tp + fn),
        (Metric.F1, 2 * tp, 2 * tp + fp + fn),
    ):
        payoff = payoffs(metric, limit, 2, binary=True)
        assert payoff is not None
        assert payoff.min() == pytest.approx(-1.0)
        gain = float(shares @ payoff)
        if abs(above - limit * below) > 1e-9:
            assert (gain > 0) == (above < limit * below), metric


def test_no_bet_can_be_made_on_metrics_that_are_no_mean() -> None:
    assert payoffs(Metric.AUC, 0.7, 2, binary=True) is None
    assert payoffs(Metric.F1, 0.7, 3, binary=False) is None
    assert payoffs(Metric.ACCURACY, 0.7, 3, binary=False) is not None


@pytest.mark.parametrize("law", [stats.expon(), stats.lognorm(1.5), stats.bernoulli(0.1)])
def test_the_money_of_a_player_does_not_grow_while_the_mean_of_a_loss_keeps_its_limit(law: stats.rv_continuous) -> None:
    bets = LossBets(Metric.MAE, Loss.ABSOLUTE_ERROR, float(law.mean()))
    losses = law.rvs(400_000, random_state=4)
    money = np.exp(bets.values(losses)[:, 1:] / BET_UNIT)
    assert np.all(money.mean(axis=0) <= 1 + 4 * money.std(axis=0) / np.sqrt(len(losses)))
    assert np.all(money > 0)


def test_what_is_bet_is_rounded_down_so_that_rounding_never_adds_evidence(rng: np.random.Generator) -> None:
    losses = rng.exponential(size=1_000)
    exact = np.log1p(np.array(LAMBDAS) * (losses[:, None] / 0.7 - 1))
    counted_ = LossBets(Metric.MAE, Loss.ABSOLUTE_ERROR, 0.7).values(losses)[:, 1:] / BET_UNIT
    assert np.all(counted_ <= exact)
    assert np.abs(counted_ - exact).max() <= 1 / BET_UNIT


# Steps


@pytest.mark.parametrize(
    ("limits", "quality"),
    [
        ({"accuracy": 0.8}, 1.0),
        ({"log_loss": 0.35}, 1.0),
        ({"brier": 0.12}, 1.0),
        ({"precision": 0.8}, 1.0),
        ({"recall": 0.8}, 1.0),
        ({"f1": 0.8}, 1.0),
        ({"auc": 0.85}, 1.0),
        ({"calibration_error": 0.02}, 0.4),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_a_limit_that_is_broken_is_found(limits: dict[Metric, float], quality: float, rng: np.random.Generator) -> None:
    layout = layout_of(scored(limits=limits), rng)
    x = rng.normal(size=20_000)
    broken = feed(Limits(layout, log_threshold=THRESHOLD), layout, logistic(x), drawn(logistic(quality * x), rng))
    assert broken is not None


def test_a_limit_of_numbers_is_found_too(rng: np.random.Generator) -> None:
    for limits in ({"mae": 0.7}, {"rmse": 0.8}, {"mse": 0.8}, {"pinball": 0.3}):
        layout = layout_of(regression(limits=limits), rng)
        y = rng.normal(size=4_000)
        assert feed(Limits(layout, log_threshold=THRESHOLD), layout, np.zeros(4_000), y) is not None


def test_a_limit_that_is_kept_by_a_hair_raises_nothing_for_as_long_as_the_budget_says(rng: np.random.Generator) -> None:
    layout = layout_of(scored(limits={"accuracy": 0.9, "f1": 0.9, "precision": 0.9, "recall": 0.9}), rng)
    alarms = 0
    for _ in range(40):
        wrong = rng.random(2_500) < 0.1
        scores = np.where(rng.random(2_500) < 0.5, 0.9, 0.1)
        labels = ["1" if (score > 0.5) != bad else "0" for score, bad in zip(scores, wrong, strict=True)]
        # 50 steps and 4 limits: a threshold of log(50 x 4 / 0.1) allows a tenth of a false alarm.
        alarms += feed(Limits(layout, log_threshold=float(np.log(50 * 4 / 0.1))), layout, scores, labels) is not None
    assert alarms <= stats.binom.ppf(0.999, 40, 0.1)


def test_a_limit_on_a_heavy_tailed_loss_that_is_kept_raises_nothing(rng: np.random.Generator) -> None:
    layout = layout_of(regression(limits={"mae": 1.0}), rng)
    law = stats.lognorm(1.0, scale=np.exp(-0.5))  # mean 1
    alarms = 0
    for seed in range(40):
        errors = law.rvs(2_500, random_state=seed)
        alarms += (
            feed(Limits(layout, log_threshold=float(np.log(50 / 0.1))), layout, np.zeros(2_500), errors) is not None
        )
    assert alarms <= stats.binom.ppf(0.999, 40, 0.1)


def test_the_burstier_the_rows_the_less_they_say(rng: np.random.Generator) -> None:
    layout = layout_of(scored(limits={"accuracy": 0.9}), rng)
    found = counted(layout, pair_rows(layout.spec, {"x": np.zeros(100)}, np.full(100, 0.9), ["0"] * 100))
    evidence = []
    for burst in (1.0, 10.0):
        limits = Limits(layout, log_threshold=THRESHOLD)
        limits.step(found, burst)
        evidence.append(limits.readings()[0].evidence)
    assert evidence[1] < evidence[0] / 5


def test_a_broken_limit_has_the_tier_of_the_spec_and_holds_again_after_quiet_steps(rng: np.random.Generator) -> None:
    spec = scored(limits={"accuracy": 0.8}, limit_tier="minor")
    layout = layout_of(spec, rng)
    limits = Limits(layout, log_threshold=THRESHOLD)
    assert feed(limits, layout, np.full(200, 0.9), ["0"] * 200) is not None
    assert limits.readings()[0].tier is Tier.MINOR
    steps = 0
    while limits.readings()[0].tier is Tier.MINOR:
        limits.step(counted(layout, pair_rows(spec, {"x": np.zeros(50)}, np.full(50, 0.9), ["1"] * 50)), 1.0)
        steps += 1
        assert steps < 200
    assert limits.readings()[0].value > 0.8
    assert limits.readings()[0].evidence == 0.0


def test_steps_without_labels_say_nothing(rng: np.random.Generator) -> None:
    layout = layout_of(scored(limits={"accuracy": 0.8}), rng)
    limits = Limits(layout, log_threshold=THRESHOLD)
    before = limits.readings()
    limits.step(counted(layout, pair_rows(layout.spec, {"x": np.zeros(9)}, np.full(9, 0.9), ["0"] * 9)[:1]), 1.0)
    assert limits.readings() == before


def test_limits_of_several_classes_are_read_from_their_table(rng: np.random.Generator) -> None:
    spec = classified(limits={"accuracy": 0.9, "f1": 0.9})
    labels = [str(each) for each in rng.choice(["a", "b", "c"], 3_000)]
    predicted = [label if rng.random() < 0.5 else "a" for label in labels]
    layout = Layout(frozen_pairs(spec, {"x": np.zeros(3_000)}, predicted, labels))
    limits = Limits(layout, log_threshold=THRESHOLD)
    for start in range(0, 3_000, 100):
        part = slice(start, start + 100)
        limits.step(counted(layout, pair_rows(spec, {"x": np.zeros(100)}, predicted[part], labels[part])), 1.0)
    assert [reading.tier for reading in limits.readings()] == [Tier.SIGNIFICANT, Tier.SIGNIFICANT]


def test_a_successor_goes_on_from_the_saved_state_to_the_last_bit(rng: np.random.Generator) -> None:
    layout = layout_of(scored(limits={"accuracy": 0.8, "auc": 0.8, "log_loss": 0.4}), rng)
    one, other = (Limits(layout, log_threshold=THRESHOLD) for _ in range(2))
    x = rng.normal(size=3_000)
    scores, labels = logistic(x), drawn(logistic(x), rng)
    feed(one, layout, scores[:1_500], labels[:1_500])
    other.restore(one.state())
    assert other.readings() == one.readings()
    for limits in (one, other):
        feed(limits, layout, scores[1_500:], labels[1_500:])
    assert other.readings() == one.readings()
