"""Losses: evidence that performance is worse, and only that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detector.bins import fit_number_bins, make_binner
from detector.evidence import EvidenceEngine
from detector.readings import SignalBaseline
from detector.reference import loss_of_bins
from tests.support.signals import baseline, feed

THRESHOLD = 14.0
WARM_UP = 20
RIGHT_WRONG = np.array([0.8, 0.2])
STABLE_STREAMS = 40


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def error_rate(rows: int = 5_000) -> SignalBaseline:
    counts = (RIGHT_WRONG * rows).astype(np.int64)
    made = baseline(counts, name="performance:error", ordered=False)
    return replace(made, losses=np.array([0.0, 1.0]), thresholds=(0.02, 0.05, 0.1))


def engine_of(*baselines: SignalBaseline) -> EvidenceEngine:
    return EvidenceEngine(baselines, log_threshold=THRESHOLD)


def test_the_score_of_a_loss_is_how_much_its_mean_has_risen(rng: np.random.Generator) -> None:
    reading = feed(engine_of(error_rate()), np.array([0.65, 0.35]), 300, rng)
    assert reading.score == pytest.approx(0.15, abs=0.03)
    assert reading.losses == pytest.approx((0.2, 0.35), abs=0.03)


def test_an_error_rate_that_rises_from_20_to_40_percent_is_sure_within_400_rows(rng: np.random.Generator) -> None:
    engine = engine_of(error_rate())
    feed(engine, RIGHT_WRONG, WARM_UP, rng)
    steps = next(n for n in range(1, 100) if feed(engine, np.array([0.6, 0.4]), 1, rng).evidence[0] >= THRESHOLD)
    assert 32 * steps <= 400


def test_an_error_rate_that_falls_is_no_evidence_of_anything(rng: np.random.Generator) -> None:
    engine = engine_of(error_rate())
    highest = max(feed(engine, np.array([0.95, 0.05]), 1, rng).evidence[0] for _ in range(200))
    assert highest == 0.0
    assert feed(engine, np.array([0.95, 0.05]), 1, rng).score == 0.0


def test_a_stable_error_rate_gives_no_evidence_however_long_it_is_watched() -> None:
    for seed in range(STABLE_STREAMS):
        rng = np.random.default_rng([5, seed])
        engine = engine_of(error_rate(500))
        assert max(feed(engine, RIGHT_WRONG, 1, rng).evidence[0] for _ in range(500)) < THRESHOLD


def test_a_rise_within_half_of_the_smallest_tier_is_none(rng: np.random.Generator) -> None:
    assert feed(engine_of(error_rate(50_000)), np.array([0.792, 0.208]), 100, rng, rows=2_000).evidence[0] < 6


def test_signals_that_are_no_losses_are_judged_as_if_there_were_none(rng: np.random.Generator) -> None:
    alone, beside = engine_of(baseline(np.full(4, 500))), engine_of(baseline(np.full(4, 500)), error_rate())
    for _ in range(60):
        counts, wrong = rng.multinomial(32, [0.4, 0.3, 0.2, 0.1]), rng.multinomial(32, [0.7, 0.3])
        (lone,) = alone.step({-1: [counts]})
        first, _ = beside.step({-1: [counts, wrong]})
        assert first.evidence == pytest.approx(lone.evidence)
        assert first.score == pytest.approx(lone.score)


def test_an_absolute_error_is_measured_in_units_of_the_references_own(rng: np.random.Generator) -> None:
    losses = np.abs(rng.normal(size=5_000)) * 7.0
    bins = fit_number_bins(losses)
    binner = make_binner(bins)
    counts = np.bincount(binner.index(losses), minlength=binner.width)
    costs = loss_of_bins(bins, counts)
    assert counts @ costs / counts.sum() == pytest.approx(1.0)
    engine = engine_of(replace(baseline(counts), losses=costs, thresholds=(0.1, 0.25, 0.5)))
    for _ in range(100):
        worse = binner.index(np.abs(rng.normal(size=64)) * 7.0 * 1.4)
        (reading,) = engine.step({-1: [np.bincount(worse, minlength=binner.width)]})
    assert reading.evidence[0] >= THRESHOLD
    assert 0.25 <= reading.score <= 0.45
