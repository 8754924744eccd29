"""Confidence intervals of scores: they hold the true value about as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from detector.intervals import psi_interval, rise_interval

LOOKS = 600


def tilted(bins: int, by: float) -> np.ndarray:
    shares = np.exp(by * np.linspace(-1, 1, bins))
    return np.asarray(shares / shares.sum())


@pytest.mark.parametrize("bins", [2, 10, 20])
@pytest.mark.parametrize("by", [0.3, 0.6, 1.0])
@pytest.mark.parametrize(("rows", "reference_rows"), [(100, 2_000), (1_000, 5_000)])
def test_the_interval_of_a_psi_holds_the_true_one_in_nine_of_ten_looks_or_more(
    bins: int, by: float, rows: int, reference_rows: int
) -> None:
    rng = np.random.default_rng([bins, int(10 * by), rows])
    p, q = tilted(bins, by), tilted(bins, 0.0)
    true = float(((p - q) * np.log(p / q)).sum())
    looks = (psi_interval(rng.multinomial(rows, p), rng.multinomial(reference_rows, q)) for _ in range(LOOKS))
    assert np.mean([low <= true <= high for low, high in looks]) > 0.87


def test_without_a_change_the_interval_of_a_psi_begins_at_zero() -> None:
    rng, shares = np.random.default_rng(1), tilted(10, 0.0)
    lows = [psi_interval(rng.multinomial(500, shares), rng.multinomial(5_000, shares))[0] for _ in range(LOOKS)]
    assert np.mean(np.array(lows) == 0.0) > 0.95


def test_more_rows_measure_a_psi_more_precisely() -> None:
    few, many = (psi_interval(tilted(10, 0.6) * rows, np.full(10, 1_000)) for rows in (100, 10_000))
    assert few[1] - few[0] > 3 * (many[1] - many[0])


@pytest.mark.parametrize(("before", "after"), [(0.2, 0.2), (0.2, 0.3), (0.05, 0.1)])
@pytest.mark.parametrize("rows", [100, 1_000])
def test_the_interval_of_a_rise_holds_the_true_one_in_nine_of_ten_looks_or_more(
    before: float, after: float, rows: int
) -> None:
    rng = np.random.default_rng([int(100 * before), rows])
    costs = np.array([0.0, 1.0])
    wrong, usual = rng.binomial(rows, after, LOOKS), rng.binomial(5_000, before, LOOKS)
    looks = [
        rise_interval(np.array([rows - now, now]), np.array([5_000 - then, then]), costs)
        for now, then in zip(wrong, usual, strict=True)
    ]
    assert np.mean([low <= after - before <= high for low, high in looks]) > 0.9


def test_without_rows_nothing_is_said() -> None:
    nothing = np.zeros(3)
    assert psi_interval(nothing, np.array([3, 4, 5])) == (0.0, 0.0)
    assert rise_interval(nothing, np.array([3, 4, 5]), np.arange(3.0)) == (0.0, 0.0)
