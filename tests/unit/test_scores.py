import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from detector import scores

EQUAL = np.full(10, 0.1)
SKEWED = np.arange(1, 13) / 78


def samples(shares, rows, reference_rows, *, looks, tilt=0.0):
    """``looks`` pairs of samples: now (its shares tilted towards the upper bins) and of the reference."""
    rng = np.random.default_rng(7)
    tilted = shares * np.exp(tilt * np.linspace(-1, 1, len(shares)))
    now = rng.multinomial(rows, tilted / tilted.sum(), size=looks)
    return now, rng.multinomial(reference_rows, shares, size=looks)


@pytest.fixture
def pair():
    now, reference = samples(SKEWED, 400, 900, looks=1, tilt=0.7)
    return now[0], reference[0]


def test_psi_is_the_symmetric_relative_entropy_of_the_smoothed_shares(pair):
    p, q = ((counts + 0.5) / (counts.sum() + 6) for counts in pair)
    assert scores.psi(*pair, corrected=False) == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p))


def test_jensen_shannon_agrees_with_scipy(pair):
    assert scores.jensen_shannon(*pair, corrected=False) == pytest.approx(jensenshannon(*pair, base=2))


def test_hellinger_is_the_root_of_one_minus_the_bhattacharyya_coefficient(pair):
    p, q = (counts / counts.sum() for counts in pair)
    assert scores.hellinger(*pair, corrected=False) == pytest.approx(np.sqrt(1 - np.sqrt(p * q).sum()))


def test_ks_agrees_with_scipy_on_the_bins_as_values(pair):
    values = [np.repeat(np.arange(12), counts) for counts in pair]
    assert scores.ks(*pair, corrected=False) == pytest.approx(stats.ks_2samp(*values).statistic)


def test_wasserstein_agrees_with_scipy_on_the_bins_positions(pair):
    positions = np.cumsum(np.linspace(0.1, 1.3, 12))
    expected = stats.wasserstein_distance(positions, positions, *pair)
    assert scores.wasserstein(*pair, positions, corrected=False) == pytest.approx(expected)


def test_wasserstein_leaves_out_bins_that_stand_for_no_number(pair):
    now, reference = (np.append(counts, 50) for counts in pair)
    positions = np.arange(12.0)
    assert scores.wasserstein(now, reference, np.append(positions, np.nan)) == scores.wasserstein(*pair, positions)


def test_the_chi_square_test_agrees_with_scipy(pair):
    expected = stats.chi2_contingency(np.stack(pair), correction=False)
    statistic, p_value = scores.chi_square_test(*pair)
    assert (statistic, p_value) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))


def test_the_chi_square_score_is_cramers_v_of_samples_of_one_size(pair):
    now, reference = pair[0] * 900, pair[1] * 400
    table = np.stack([now, reference])
    assert scores.chi_square(*pair, corrected=False) == pytest.approx(stats.contingency.association(table))


@pytest.mark.parametrize("name", ["psi", "js", "hellinger", "chi_square", "ks"])
@pytest.mark.parametrize("shares", [EQUAL, SKEWED], ids=["equal", "skewed"])
def test_the_correction_takes_out_most_of_what_chance_alone_gives(name, shares):
    score = scores.SCORES[name].function
    now, reference = samples(shares, 200, 5_000, looks=2_000)
    square = 1 if name == "psi" else 2
    by_chance = (score(now, reference, corrected=False) ** square).mean()
    left = (score(now, reference) ** square).mean()
    assert left < 0.5 * by_chance
    assert np.median(score(now, reference)) < 0.6 * np.median(score(now, reference, corrected=False))


def test_the_null_mean_of_psi_is_what_is_subtracted():
    now, reference = samples(EQUAL, 400, 1_000, looks=4_000)
    mean = scores.psi(now, reference, corrected=False).mean()
    assert mean == pytest.approx(9 * (1 / 400 + 1 / 1_000), rel=0.05)


def test_the_null_mean_square_of_ks_on_bins_is_what_is_subtracted():
    for bins in (2, 5, 10, 40):
        now, reference = samples(np.full(bins, 1 / bins), 2_000, 2_000, looks=4_000)
        mean_square = (scores.ks(now, reference, corrected=False) ** 2).mean()
        assert mean_square == pytest.approx((np.pi / 12**0.5 - 0.5826 / bins**0.5) ** 2 / 1_000, rel=0.12)


@pytest.mark.parametrize("name", ["psi", "js", "hellinger", "chi_square", "ks"])
def test_a_large_change_is_scored_as_in_large_samples_even_in_small_ones(name):
    score = scores.SCORES[name].function
    truth = score(*samples(EQUAL, 1_000_000, 1_000_000, looks=1, tilt=1.2))[0]
    assert score(*samples(EQUAL, 150, 5_000, looks=2_000, tilt=1.2)).mean() == pytest.approx(truth, rel=0.06)


def test_wasserstein_of_a_shift_is_the_shift():
    positions = np.arange(10.0)
    now, reference = np.roll(np.r_[np.full(8, 50), 0, 0], 2), np.r_[np.full(8, 50), 0, 0]
    assert scores.wasserstein(now, reference, positions, corrected=False) == pytest.approx(2.0)


@pytest.mark.parametrize("name", ["psi", "js", "hellinger", "chi_square", "ks"])
def test_padding_with_bins_that_nobody_has_seen_changes_nothing(name, pair):
    padded = [np.append(counts, np.zeros(5, dtype=int)) for counts in pair]
    assert scores.SCORES[name].function(*padded) == pytest.approx(scores.SCORES[name].function(*pair), rel=1e-12)


@pytest.mark.parametrize("name", ["psi", "js", "hellinger", "chi_square", "ks"])
def test_many_signals_are_scored_as_each_alone(name):
    score = scores.SCORES[name].function
    now, reference = samples(SKEWED, 100, 300, looks=6, tilt=0.5)
    assert score(now, reference).tolist() == [score(*each) for each in zip(now, reference, strict=True)]


@pytest.mark.parametrize("name", ["psi", "js", "hellinger", "chi_square", "ks"])
def test_without_rows_there_is_no_change(name):
    empty, some = np.zeros(4, dtype=int), np.array([3, 0, 2, 1])
    score = scores.SCORES[name].function
    assert [score(empty, some), score(some, empty), score(empty, empty)] == [0.0, 0.0, 0.0]


def test_rows_in_a_bin_that_was_empty_give_a_finite_psi():
    assert 0 < scores.psi(np.array([50, 50]), np.array([1_000, 0])) < 10


def test_the_terms_of_psi_say_which_bin_changed_most():
    terms = scores.psi_terms(np.array([10, 10, 40]), np.array([100, 100, 100]))
    assert terms.argmax() == 2


def test_only_the_scores_that_are_defined_for_a_signal_are_measured(pair):
    assert set(scores.measure(*pair, ordered=False)) == {"psi", "js", "hellinger", "chi_square"}
    assert set(scores.measure(*pair, ordered=True, positions=np.arange(12.0))) == set(scores.SCORES)
