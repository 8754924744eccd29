"""Evidence that a bounded mean has risen: quiet while it has not, soon where it has, and saved to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.state import pack, unpack
from detector.surrogates.rising import CONFIRMED, FRACTIONS, STAKES, Asked, RisingMeans

ASKED = Asked((0.02, 0.05, 0.1), (0.01, 0.025, 0.05), calm_rows=400)
THRESHOLD = 14.0


def bits(rate: float, rows: int, seed: int, streams: int = 1) -> NDArray[np.float64]:
    return (np.random.default_rng(seed).random((streams, rows)) < rate).astype(float)


def fed(means: RisingMeans, rate: float, steps: int, seed: int, rows: int = 32) -> int | None:
    """Feed steps; return the rows after which the evidence was enough, or None."""
    for step in range(steps):
        means.take(bits(rate, rows, 1_000 * seed + step, means.mean.size))
        means.step()
        if means.evidence()[0] >= THRESHOLD:
            return (step + 1) * rows
    return None


def calm(rate: float, seed: int = 1, asked: Asked = ASKED, streams: int = 1) -> RisingMeans:
    means = RisingMeans(streams, asked)
    means.take(bits(rate, asked.calm_rows, seed, streams))
    assert fed(means, rate, 20, seed + 1) is None
    return means


def test_a_rate_that_stays_raises_nothing() -> None:
    means = calm(0.3, streams=20)
    highest = np.zeros(20)
    for step in range(300):
        means.take(bits(0.3, 32, 50_000 + step, 20))
        means.step()
        highest = np.maximum(highest, means.evidence_by_stream()[0])
    assert (highest < THRESHOLD).all()


def test_a_rate_that_falls_raises_nothing() -> None:
    assert fed(calm(0.5), 0.1, 200, 3) is None


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_numbers_that_are_always_the_same_raise_nothing(rate: float) -> None:
    means = calm(rate)
    assert fed(means, rate, 300, 3) is None
    assert means.evidence()[0] < 1.0 + np.log(320)


def test_a_rise_that_the_null_holds_raises_nothing() -> None:
    assert fed(calm(0.3, asked=Asked((0.2, 0.3, 0.4), (0.1, 0.2, 0.3), calm_rows=400)), 0.35, 300, 3) is None


@pytest.mark.parametrize(("after", "within"), [(0.9, 64), (0.6, 320), (0.5, 1_024)])
def test_a_rise_is_found_the_sooner_the_larger_it_is(after: float, within: int) -> None:
    found = fed(calm(0.3), after, 100, 7)
    assert found is not None
    assert found <= within


def test_each_tier_has_a_null_of_its_own() -> None:
    means = calm(0.3)
    fed(means, 0.6, 5, 3)
    minor, moderate, significant = means.evidence()
    assert minor > moderate > significant


def test_a_bet_on_the_null_s_mean_wins_nothing_on_average() -> None:
    # Of two values whose mean is m, each bet's mean is 1: what makes the sum over steps an e-detector.
    m = 0.37
    for fraction in FRACTIONS:
        win, loss = 1 + fraction * (1 / m - 1), 1 - fraction
        assert m * win + (1 - m) * loss == pytest.approx(1.0)


@pytest.mark.parametrize("blocks", [1, 2, 4, 8])
def test_the_stakes_of_a_step_add_up_to_one_however_many_blocks_it_has(blocks: int) -> None:
    # Numbers that are always the mean that the null holds win and lose nothing: M is then the sum of the stakes.
    means = RisingMeans(1, Asked((1.0, 2.0, 3.0), (0.0, 0.0, 0.0), calm_rows=400))
    means.take(np.full((1, 400), 0.5))
    bound = 0.5 + 2.33 / 400
    for step in range(40):
        for _ in range(blocks):
            means.take(np.full((1, 8), bound))
        means.step()
        # Evidence is gathered from the 17th step on: until then nobody knows how bursty the rows are.
        assert np.exp(means.evidence()[0]) <= max(step - 14, 1)
    assert np.exp(means.evidence()[0]) == pytest.approx(24, abs=1.5)


def test_rows_that_are_lost_until_a_challenger_has_learned_do_not_ruin_the_bets_behind_them() -> None:
    learned = np.concatenate([np.zeros(16), np.ones(48)])
    in_blocks, at_once = calm(0.5), calm(0.5)
    for step in learned.reshape(2, 32):
        for block in step.reshape(STAKES, 8):
            in_blocks.take(block[None])
        at_once.take(step[None])
        in_blocks.step()
        at_once.step()
    assert in_blocks.evidence()[0] > THRESHOLD + np.log(len(FRACTIONS))
    assert at_once.evidence()[0] < in_blocks.evidence()[0] - 5


def test_bursts_are_worth_less() -> None:
    single, bursty = calm(0.3), RisingMeans(1, ASKED)
    bursty.take(np.repeat(bits(0.3, 25, 1), 16, axis=1))
    for step in range(40):
        bursty.take(np.repeat(bits(0.3, 2, 90 + step), 16, axis=1))
        bursty.step()
    assert bursty.phi()[0] > 3 * single.phi()[0]
    assert bursty.evidence()[0] < THRESHOLD


def test_supporting_streams_count_only_as_far_as_the_others_confirm_them() -> None:
    means = calm(0.3, asked=Asked((0.02, 0.05, 0.1), (0.01, 0.025, 0.05), supporting=1, calm_rows=400), streams=2)
    for step in range(40):
        means.take(np.concatenate([bits(0.25, 32, step), bits(0.95, 32, 500 + step)]))
        means.step()
    spoken, support = means.evidence_by_stream()[0]
    assert support > 50
    assert means.evidence()[0] <= spoken + CONFIRMED


def test_a_model_that_keeps_learning_lowers_what_it_is_compared_with() -> None:
    asked = Asked((0.02, 0.05, 0.1), (0.01, 0.025, 0.05), calm_rows=400, lowers=True)
    learning, frozen = calm(0.5, asked=asked), calm(0.5)
    for means in (learning, frozen):
        fed(means, 0.2, 140, 5)
    assert learning.mean[0] < 0.3
    assert frozen.mean[0] > 0.4
    assert fed(learning, 0.5, 30, 9) is not None
    assert fed(frozen, 0.5, 30, 9) is None


def test_what_is_forgotten_is_the_evidence_of_the_tiers_above() -> None:
    means = calm(0.3)
    fed(means, 0.9, 3, 3)
    minor = means.evidence()[0]
    means.reset(above=1)
    assert means.evidence() == (minor, 0.0, 0.0)


@pytest.mark.parametrize("steps", [0, 3, 30])
def test_a_successor_goes_on_to_the_last_bit(steps: int) -> None:
    means = RisingMeans(2, ASKED)
    fed(means, 0.3, steps, 1)
    successor = RisingMeans(2, ASKED)
    successor.restore(unpack(pack(means.state())))
    for each in (means, successor):
        fed(each, 0.45, 20, 2)
    assert pack(successor.state()) == pack(means.state())


def test_a_state_of_another_number_of_streams_is_refused() -> None:
    with pytest.raises(ValueError, match="another number"):
        RisingMeans(3, ASKED).restore(RisingMeans(2, ASKED).state())
