"""What is expected of the losses of a model that keeps learning."""

from __future__ import annotations

import numpy as np
import pytest

from detector.dispersion import overdispersion
from detector.evidence import EvidenceEngine
from detector.expectation import WHOLE
from detector.readings import SignalBaseline

RIGHT_OR_WRONG = np.array([0.0, 1.0])
LOG_THRESHOLD = 15.5


def engine_of(error: float, *, follows: bool, rows: int = 5_000) -> EvidenceEngine:
    counts = np.array([round(rows * (1 - error)), round(rows * error)])
    of_errors = SignalBaseline(
        name="performance:error",
        phases={WHOLE: counts},
        ordered=False,
        dispersion=1.0,
        opens=True,
        thresholds=(0.02, 0.05, 0.1),
        losses=RIGHT_OR_WRONG,
        follows=follows,
    )
    return EvidenceEngine([of_errors], log_threshold=LOG_THRESHOLD)


def feed(engine: EvidenceEngine, error: float, steps: int, rng: np.random.Generator):
    for _ in range(steps):
        wrong = rng.binomial(32, error)
        reading = engine.step({WHOLE: [np.array([32 - wrong, wrong])]})[0]
    return reading


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_a_loss_that_has_surely_fallen_is_expected_to_stay_so(rng):
    expected, _ = feed(engine_of(0.3, follows=True), 0.2, 200, rng).losses
    assert expected == pytest.approx(0.2, abs=0.03)


def test_a_fall_back_to_the_reference_is_then_a_loss(rng):
    follows, stays = (engine_of(0.3, follows=follows) for follows in (True, False))
    for engine in (follows, stays):
        feed(engine, 0.2, 200, rng)
    assert feed(follows, 0.3, 100, rng).evidence[0] > LOG_THRESHOLD
    assert feed(stays, 0.3, 100, rng).evidence[0] < 5


def test_a_loss_that_rises_is_never_expected(rng):
    expected, _ = feed(engine_of(0.2, follows=True), 0.3, 400, rng).losses
    assert expected == pytest.approx(0.2, abs=0.001)


def test_chance_is_no_improvement():
    adopted = 0
    for seed in range(20):
        engine = engine_of(0.2, follows=True)
        expected, _ = feed(engine, 0.2, 300, np.random.default_rng(seed)).losses
        adopted += expected < 0.199
    # Nineteen looks at three standard errors: a chance of 19 x 0.0013 for each engine, so that 3 of 20 are a rare case.
    assert adopted <= 3


def test_where_nothing_changes_any_more_a_lowered_expectation_raises_no_alarm():
    highest = []
    for seed in range(5):
        rng, engine = np.random.default_rng(seed), engine_of(0.3, follows=True)
        highest.append(max(feed(engine, 0.2, 1, rng).evidence[0] for _ in range(600)))
    assert max(highest) < LOG_THRESHOLD


def test_it_goes_on_from_its_saved_state(rng):
    engine, other = engine_of(0.3, follows=True), engine_of(0.3, follows=True)
    feed(engine, 0.2, 150, rng)
    other.restore(engine.state())
    seed = int(rng.integers(1 << 30))
    one, two = (feed(each, 0.25, 100, np.random.default_rng(seed)) for each in (engine, other))
    assert one.evidence == two.evidence
    assert one.losses == two.losses


def test_models_that_do_not_learn_save_no_such_state():
    assert not any(name.startswith("improvement") for name in engine_of(0.2, follows=False).state())


def test_a_trend_in_the_reference_of_a_learning_model_is_no_burst():
    rng = np.random.default_rng(3)
    wrong = (rng.random(8_000) < np.linspace(0.5, 0.1, 8_000)).astype(np.int64)
    assert overdispersion(wrong, 2, ordered=False) > 5
    assert overdispersion(wrong, 2, ordered=False, trending=True) < 1.5


def test_bursts_in_the_reference_of_a_learning_model_are_bursts():
    rng = np.random.default_rng(3)
    wrong = np.repeat((rng.random(400) < 0.3).astype(np.int64), 20)
    assert overdispersion(wrong, 2, ordered=False, trending=True) > 10
