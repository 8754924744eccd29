"""What a false-alarm budget asks for, and what can be found with it."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest

from agents.cli.explained import as_facts
from detector.budget import budget_of, reach_of
from detector.evidence import EvidenceEngine
from detector.layout import Layout
from detector.reference import baselines
from detector.scores import psi
from schemas.model_spec import FalseAlarmBudget, ModelSpec, StepSpec
from schemas.performance import OutcomeSpec
from tests.support.data import frozen_of, numbers, spec_of
from tests.support.signals import feed

RNG_SEED = 7


def watched(rows: int = 5_000, *features: str, **settings: object) -> ModelSpec:
    names = features or ("x",)
    rng = np.random.default_rng(RNG_SEED)
    spec = spec_of(*numbers(*names), **settings)
    columns = {f"feature:{name}": rng.normal(size=rows) for name in names}
    if spec.outcomes is not None:
        columns["label"] = ["1"] * rows
        columns["prediction"] = rng.uniform(size=rows)
        columns["performance:error"] = np.where(rng.uniform(size=rows) < 0.2, "true", "false").tolist()
    return frozen_of(spec, columns)


def test_the_threshold_is_the_log_of_the_occasions_to_be_wrong() -> None:
    steps = StepSpec(min_interval=timedelta(minutes=1))
    budget = budget_of(watched(2_000, "x", "y", steps=steps, false_alarms=FalseAlarmBudget(count=2)))
    assert budget.steps == pytest.approx(30 * 24 * 60 + 60)
    assert budget.threshold == pytest.approx(math.log(budget.steps * 2 / 2))


def test_more_signals_ask_for_more_evidence_and_a_larger_budget_for_less() -> None:
    one, many = budget_of(watched()), budget_of(watched(2_000, *(f"x{i}" for i in range(20))))
    assert many.threshold - one.threshold == pytest.approx(math.log(20))
    generous = watched(false_alarms=FalseAlarmBudget(count=10))
    assert one.threshold - budget_of(generous).threshold == pytest.approx(math.log(10))


def test_a_small_reference_tolerates_more_and_finds_later() -> None:
    (small,), (large,) = reach_of(watched(500)), reach_of(watched(20_000))
    for few, many in zip(small.tiers, large.tiers, strict=True):
        assert few.tolerated > many.tolerated
        assert few.rows > many.rows


def test_the_rows_that_a_clear_change_takes_are_told_within_a_factor_of_two() -> None:
    spec = watched(20_000)
    (reach,) = reach_of(spec)
    threshold = budget_of(spec).threshold
    (reference,) = baselines(spec, Layout(spec))
    shares = reference.phases[-1] / reference.phases[-1].sum()
    ranks = 2 * np.cumsum(shares) - shares - 1
    tilted = shares * np.exp(0.8 * ranks)  # a PSI of about 0.2, twice the minor tier's score
    tilted /= tilted.sum()
    assert psi(tilted * 1e6, shares * 1e6) == pytest.approx(0.2, abs=0.04)
    taken = []
    for seed in range(20):
        engine, rng = EvidenceEngine([reference], log_threshold=threshold), np.random.default_rng(seed)
        feed(engine, shares, 20, rng)
        taken.append(next(32 * step for step in range(1, 200) if feed(engine, tilted, 1, rng).evidence[0] >= threshold))
    assert 0.5 < np.median(taken) / reach.tiers[0].rows < 2.0


def test_a_loss_is_told_in_its_own_unit() -> None:
    spec = watched(prediction={"output": "score"}, outcomes=OutcomeSpec())
    error = next(each for each in reach_of(spec) if each.signal == "performance:error")
    assert error.score_name == "increase"
    assert 0.01 < error.tiers[0].tolerated < 0.04
    assert error.tiers[2].rows < 500


def test_a_reference_that_cannot_support_evidence_says_why() -> None:
    (reach,) = reach_of(watched(12))
    assert reach.not_judged is not None
    assert "rows are worth" in reach.not_judged


def test_for_a_program_rows_that_never_suffice_are_null() -> None:
    spec = watched(100)
    facts = as_facts(budget_of(spec), reach_of(spec))
    assert facts["budget"]["per"] == 30 * 86_400
    rows = [tier["rows"] for signal in facts["signals"] for tier in signal["tiers"]]
    assert all(each is None or isinstance(each, int) for each in rows)
