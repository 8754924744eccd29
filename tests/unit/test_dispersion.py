import numpy as np
import pytest
from scipy import signal

from detector.dispersion import LiveDispersion, mid_ranks, overdispersion
from detector.ragged import Ragged

TENTHS = np.linspace(0, 1, 11)[1:-1]


def ar1(rows, rho, rng):
    """A stationary AR(1) series of unit variance: phi of its mean is about (1 + rho) / (1 - rho)."""
    noise = rng.normal(size=rows) * np.sqrt(1 - rho**2)
    noise[0] = rng.normal()
    return signal.lfilter([1], [1, -rho], noise)


def deciles(values):
    return np.searchsorted(np.quantile(values, TENTHS), values, side="right")


def independent(rows, rng):
    return deciles(rng.normal(size=rows))


def bursts(rows, length, rng):
    return deciles(np.repeat(rng.normal(size=rows // length + 1), length)[:rows])


def test_mid_ranks_are_symmetric_around_the_middle_of_the_mass():
    assert mid_ranks(np.array([1, 2, 1])).tolist() == [-0.75, 0.0, 0.75]


def test_independent_rows_are_worth_one_row_each():
    phis = [overdispersion(independent(5_000, np.random.default_rng(seed)), 10, ordered=True) for seed in range(40)]
    assert np.median(phis) == 1.0
    assert max(phis) < 3.0


def test_autocorrelated_rows_are_discounted_as_their_mean_is():
    phis = [overdispersion(deciles(ar1(20_000, 0.9, np.random.default_rng(s))), 10, ordered=True) for s in range(10)]
    assert 13 < np.mean(phis) < 28


def test_bursts_are_discounted_by_their_length():
    phis = [overdispersion(bursts(20_000, 20, np.random.default_rng(seed)), 10, ordered=True) for seed in range(10)]
    assert 16 < np.mean(phis) < 32


def test_bursts_of_a_category_are_found_without_an_order():
    rng = np.random.default_rng(3)
    bins = np.repeat(rng.integers(0, 6, size=1_000), 20)
    assert overdispersion(bins, 6, ordered=False) > 12


def test_shuffling_hides_the_bursts_of_a_reference():
    rng = np.random.default_rng(4)
    shuffled = [rng.permutation(bursts(20_000, 20, rng)) for _ in range(10)]
    assert np.median([overdispersion(bins, 10, ordered=True) for bins in shuffled]) == 1.0


def test_what_differs_between_the_phases_of_the_season_is_no_burst():
    rng = np.random.default_rng(5)
    phases = np.repeat(np.arange(400) % 24, 50)
    bins = deciles(rng.normal(size=20_000) + np.sin(phases * np.pi / 12))
    assert overdispersion(bins, 10, ordered=True) > 10
    assert overdispersion(bins, 10, ordered=True, phases=phases) < 2.0


@pytest.mark.parametrize("bins", [np.zeros(0, dtype=int), np.zeros(5_000, dtype=int), np.arange(100) % 3])
def test_where_nothing_can_be_measured_phi_is_one(bins):
    assert overdispersion(bins, 10, ordered=True) == 1.0


def waves(rows, rng):
    """Numbers -1, 0, 1 whose mean stays 0 while they vary little and much in turns of 200 rows."""
    loud = np.arange(rows) // 200 % 2 == 0
    return np.where(rng.random(rows) < np.where(loud, 0.9, 0.1), rng.choice([0, 2], size=rows), 1)


WORTH = np.array([-1.0, 0.0, 1.0])


def test_where_only_the_mean_matters_rows_that_vary_more_at_times_are_no_burst():
    bins = waves(20_000, np.random.default_rng(9))
    assert overdispersion(bins, 3, ordered=True) > 10
    assert overdispersion(bins, 3, ordered=True, worth=WORTH) < 1.5


def test_where_only_the_mean_matters_bursts_of_it_are_bursts():
    bins = np.repeat(np.random.default_rng(9).integers(0, 3, size=1_000), 20)
    assert overdispersion(bins, 3, ordered=True, worth=WORTH) > 12


def live(bins, rows_per_step):
    """A live estimate of one ordered signal with ten bins, or of several side by side, (S, n), fed in steps."""
    bins = np.atleast_2d(bins)
    signals, rows = bins.shape
    shares = np.full(10 * signals, 0.1)
    estimate = LiveDispersion(Ragged([10] * signals), shares, np.ones(signals, dtype=bool))
    places = bins + 10 * np.arange(signals)[:, None]
    for start in range(0, rows - rows_per_step + 1, rows_per_step):
        counts = np.bincount(places[:, start : start + rows_per_step].ravel(), minlength=10 * signals)
        estimate.update(counts - rows_per_step * shares, np.full(signals, float(rows_per_step)), np.zeros(signals))
    return estimate


def live_mean(bins):
    shares = np.bincount(bins, minlength=3) / len(bins)
    estimate = LiveDispersion(Ragged([3]), shares, np.array([True]), worth=WORTH)
    for start in range(0, len(bins) - 31, 32):
        counts = np.bincount(bins[start : start + 32], minlength=3)
        estimate.update(counts - 32 * shares, np.array([32.0]), np.zeros(1))
    return estimate.phi()[0][0]


def test_the_live_stream_too_can_be_asked_for_bursts_of_its_mean_alone():
    rng = np.random.default_rng(9)
    assert live_mean(waves(20_000, rng)) < 2.0
    assert live_mean(np.repeat(rng.integers(0, 3, size=1_000), 20)) > 10


def test_the_live_stream_of_independent_rows_is_worth_one_row_each():
    phis = live([independent(20_000, np.random.default_rng(seed)) for seed in range(40)], 32).phi()[0]
    assert np.median(phis) == 1.0
    assert max(phis) < 2.5


@pytest.mark.parametrize("rows_per_step", [32, 200])
def test_the_live_stream_shows_what_a_shuffled_reference_hides(rows_per_step):
    streams = [deciles(ar1(40_000, 0.9, np.random.default_rng(seed))) for seed in range(8)]
    phis = live(streams, rows_per_step).phi()[0]
    assert 12 < np.mean(phis) < 30


def test_the_average_over_the_bins_is_less_than_the_worst_direction():
    estimate = live(deciles(ar1(20_000, 0.9, np.random.default_rng(13))), 32)
    assert 2 < estimate.average()[0] < 0.7 * estimate.phi()[0][0]
    assert live(independent(20_000, np.random.default_rng(13)), 32).average()[0] < 1.2


def test_a_burst_is_noticed_within_the_first_sixteen_differences():
    estimate = live(deciles(ar1(17 * 32, 0.9, np.random.default_rng(6))), 32)
    assert estimate.measured[0]
    assert estimate.phi()[0][0] > 5


def test_a_drift_is_no_burst():
    rng = np.random.default_rng(7)
    before, after = rng.integers(0, 10, size=2_000), rng.integers(5, 10, size=2_000)
    assert live(np.concatenate([before, after]), 32).phi()[0][0] < 2.0


def test_a_wobble_of_huge_steps_does_not_make_the_reference_worthless():
    rng = np.random.default_rng(8)
    shares, estimate = np.full(10, 0.1), LiveDispersion(Ragged([10]), np.full(10, 0.1), np.array([True]))
    for _ in range(200):
        wobbly = shares * np.exp(0.02 * rng.normal() * np.linspace(-1, 1, 10))
        estimate.update(
            rng.multinomial(500_000, wobbly / wobbly.sum()) - 500_000 * shares, np.array([500_000.0]), np.zeros(1)
        )
    of_steps, of_the_reference = estimate.phi()
    assert of_steps[0] > 30
    assert of_the_reference[0] < 1.5


def test_what_a_thin_phase_of_the_reference_is_off_by_is_no_burst():
    rng, shares = np.random.default_rng(12), np.full(10, 0.1)
    ignorant, aware = (LiveDispersion(Ragged([10]), shares, np.array([True])) for _ in range(2))
    for _ in range(100):
        reference = rng.multinomial(100, shares) / 100
        for _ in range(6):
            residuals = rng.multinomial(40, shares) - 40 * reference
            ignorant.update(residuals, np.array([40.0]), np.zeros(1))
            aware.update(residuals, np.array([40.0]), np.full(1, 1 / 100))
    assert ignorant.phi()[0][0] > 2
    assert aware.phi()[0][0] == 1


def test_steps_without_rows_of_a_signal_leave_its_estimate_alone():
    layout, shares = Ragged([10, 10]), np.full(20, 0.1)
    rng = np.random.default_rng(9)
    sparse, dense = (LiveDispersion(layout, shares, np.array([True, True])) for _ in range(2))
    for _ in range(60):
        counts = rng.multinomial(40, shares[:10]) - 4.0
        dense.update(np.concatenate([counts, counts]), np.array([40.0, 40.0]), np.zeros(2))
        sparse.update(np.concatenate([counts, counts]), np.array([40.0, 40.0]), np.zeros(2))
        sparse.update(np.concatenate([counts, np.zeros(10)]), np.array([40.0, 0.0]), np.zeros(2))
    for name, values in dense.state().items():
        width = values.shape[1] // 2
        if values.shape[1] == 2:
            assert values[:, 1].tolist() == sparse.state()[name][:, 1].tolist()
        else:
            second = np.r_[10:20, 21, 23]
            assert width == 12
            assert values[:, second].tolist() == sparse.state()[name][:, second].tolist()


def test_a_restored_estimate_continues_as_the_original():
    rng = np.random.default_rng(10)
    original = live(independent(2_000, rng), 32)
    copy = live(independent(640, rng), 32)
    copy.restore(original.state())
    for estimate in (original, copy):
        estimate.update(np.r_[np.full(5, 2.0), np.full(5, -2.0)], np.array([40.0]), np.zeros(1))
    assert all(np.array_equal(value, copy.state()[name]) for name, value in original.state().items())
