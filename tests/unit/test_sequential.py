import numpy as np
import pytest
from scipy import stats

from detector.ragged import Ragged
from detector.sequential import FADE_ROWS, advance, ball_radius, log_bets, log_threshold, mixture, tilt

LAYOUT = Ragged([3, 10, 2])
P = np.concatenate([[0.2, 0.5, 0.3], np.full(10, 0.1), [0.999, 0.001]])
RADIUS = np.array([0.02, 0.03, 0.05])


def kl(p, q):
    return LAYOUT.sum(p * np.log(p / q))


def alternatives(seed=1, count=6):
    rng = np.random.default_rng(seed)
    raw = rng.gamma(0.7, size=(count, LAYOUT.bins)) + 1e-6
    return 0.1 * P + 0.9 * raw / LAYOUT.spread(LAYOUT.sum(raw))


def test_signals_laid_end_to_end_are_summed_spread_and_padded_one_by_one():
    layout, values = Ragged([2, 1, 3]), np.arange(6.0)
    assert layout.sum(values).tolist() == [1, 2, 12]
    assert layout.max(values).tolist() == [1, 2, 5]
    assert layout.spread(np.array([7, 8, 9])).tolist() == [7, 7, 8, 9, 9, 9]
    assert layout.pad(values).tolist() == [[0, 1, 0], [2, 0, 0], [3, 4, 5]]
    assert [part.tolist() for part in layout.split(values)] == [[0, 1], [2], [3, 4, 5]]


def test_a_selection_of_signals_knows_where_its_bins_were():
    layout, values = Ragged([2, 1, 3]), np.arange(6.0)
    part, bins = layout.select(np.array([0, 2]))
    assert values[bins].tolist() == [0, 1, 3, 4, 5]
    assert part.sum(values[bins]).tolist() == [1, 12]


@pytest.mark.parametrize("sizes", [[], [2, 0]])
def test_a_signal_without_bins_is_refused(sizes):
    with pytest.raises(ValueError, match="at least one"):
        Ragged(sizes)


def test_the_threshold_shares_the_budget_out_over_steps_and_signals():
    assert log_threshold(30 * 86_400, 10, 20, 1) == pytest.approx(np.log(259_200 * 20))
    assert log_threshold(30 * 86_400, 10, 20, 10) == pytest.approx(np.log(259_200 * 2))


def test_a_budget_of_more_alarms_than_looks_asks_for_no_evidence():
    assert log_threshold(60, 10, 1, 100) == 0


def test_a_budget_without_alarms_is_refused():
    with pytest.raises(ValueError, match="positive"):
        log_threshold(60, 10, 1, 0)


def test_the_ball_holds_the_truth_behind_99_of_100_references():
    rng = np.random.default_rng(2)
    truth, rows = np.full(10, 0.1), 5_000
    radius = ball_radius(np.array([10.0]), np.array([float(rows)]), 0.0)
    estimates = (rng.multinomial(rows, truth, size=4_000) + 0.5) / (rows + 5)
    inside = stats.entropy(estimates, truth[None], axis=1) <= radius
    assert 0.984 < inside.mean() < 0.996


def test_the_ball_grows_with_the_change_that_does_not_matter():
    radius = ball_radius(np.array([10.0]), np.array([1e12]), 0.02)
    assert radius[0] == pytest.approx(0.01, rel=1e-3)


def test_a_tilt_keeps_shares_and_moves_the_mean_rank():
    ranks = np.linspace(-1, 1, LAYOUT.bins)
    tilted = tilt(P, ranks, np.array([-1.0, 0.0, 1.0]), LAYOUT)
    assert LAYOUT.sum(tilted) == pytest.approx(np.ones((3, 3)))
    assert tilted[1] == pytest.approx(P)
    means = LAYOUT.sum(tilted * ranks)
    assert (np.diff(means, axis=0) > 0).all()


def test_a_bet_is_against_the_surface_of_the_ball_or_a_little_beyond():
    q = alternatives()
    bets, outside = log_bets(P, q, RADIUS, LAYOUT)
    projections = q / np.exp(bets)
    assert LAYOUT.sum(projections) == pytest.approx(np.ones((6, 3)))
    distance = np.array([kl(P, each) for each in projections])[outside == 1]
    radius = np.broadcast_to(RADIUS, (6, 3))[outside == 1]
    assert (distance >= radius * (1 - 1e-9)).all()
    assert (distance <= radius * 1.04).all()


def test_nothing_is_bet_on_an_alternative_inside_the_ball():
    near = 0.98 * P + 0.02 * alternatives()
    bets, outside = log_bets(P, near, RADIUS, LAYOUT)
    assert not outside.any()
    assert bets == pytest.approx(np.zeros(near.shape), abs=1e-12)


def test_the_reference_itself_is_no_bet():
    bets, outside = log_bets(P, P[None], RADIUS, LAYOUT)
    assert bets == pytest.approx(np.zeros((1, LAYOUT.bins)), abs=1e-12)
    assert not outside.any()


def test_evidence_moves_as_shiryaev_and_roberts_wrote_it():
    m = np.array([[3.0, 0.5]])
    moved = advance(np.log(m), np.log([[2.0, 0.25]]), np.ones((1, 2)), np.full(2, 1e-9))
    assert np.exp(moved) == pytest.approx((m + 1) * [[2.0, 0.25]])


def test_evidence_without_rows_stays_as_it_is():
    log_m = np.array([[1.5, -np.inf]])
    assert advance(log_m, np.zeros((1, 2)), np.zeros((1, 2)), np.zeros(2)).tolist() == log_m.tolist()


def test_evidence_on_which_nothing_is_bet_fades():
    faded = advance(np.array([[2.0]]), np.zeros((1, 1)), np.zeros((1, 1)), np.array([FADE_ROWS]))
    assert faded[0, 0] == pytest.approx(2.0 - np.log(2))


def test_the_first_bet_starts_from_nothing():
    assert advance(np.array([[-np.inf]]), np.array([[0.7]]), np.ones((1, 1)), np.ones(1))[0, 0] == pytest.approx(0.7)


def test_evidence_is_the_log_of_the_weighted_mean():
    log_m, weights = np.log([[4.0, 1.0], [2.0, 1e-300]]), np.log([0.25, 0.75])
    assert mixture(log_m, weights) == pytest.approx(np.log([2.5, 0.25]))


def test_evidence_of_nothing_is_minus_infinity_and_no_error():
    assert mixture(np.full((2, 3), -np.inf), np.log([0.5, 0.5])).tolist() == [-np.inf] * 3
    assert np.isfinite(mixture(np.full((2, 3), 5_000.0), np.log([0.5, 0.5]))).all()
