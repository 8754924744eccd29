import numpy as np
import pytest

from detector import scores
from detector.evidence import EvidenceEngine
from detector.expectation import WHOLE, Expectation
from detector.ragged import Ragged
from tests.support.signals import TENTHS, baseline, feed, sampled, shifted

THRESHOLD = 15.5
WARM_UP = 20
"""Steps, more than the sixteen that measuring the burstiness takes."""


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def engine_of(*baselines):
    return EvidenceEngine(baselines, log_threshold=THRESHOLD)


def tenths(rows=5_000, **more):
    return baseline(np.full(10, rows // 10), **more)


def steps_until_sure(engine, shares, rng):
    """Steps until every signal of the engine is sure, on average over them."""
    waiting, steps = set(range(len(engine.baselines))), []
    for step in range(1, 400):
        readings = engine.step({WHOLE: [sampled(shares, 32, rng) for _ in engine.baselines]})
        found = {index for index in waiting if readings[index].evidence[0] >= THRESHOLD}
        steps += [step] * len(found)
        waiting -= found
        if not waiting:
            return np.mean(steps)
    return np.inf


def test_a_shift_of_one_sd_is_sure_within_a_few_steps(rng):
    engine = engine_of(*(tenths() for _ in range(40)))
    for _ in range(50):
        engine.step({WHOLE: [sampled(TENTHS, 32, rng) for _ in engine.baselines]})
    assert 32 * steps_until_sure(engine, shifted(TENTHS, 1.0), rng) < 160


def test_rows_like_the_reference_give_no_evidence_however_many_there_are(rng):
    engine = engine_of(tenths())
    highest = max(feed(engine, TENTHS, 1, rng, rows=200).evidence[0] for _ in range(400))
    assert highest < 6


def test_a_change_too_small_to_matter_gives_no_evidence_however_many_rows_there_are(rng):
    small = shifted(TENTHS, 0.1)
    assert 0.005 < scores.psi(small * 1e6, TENTHS * 1e6) < 0.02
    assert feed(engine_of(tenths()), small, 100, rng, rows=5_000).evidence[0] < 3


def test_a_reference_of_few_rows_is_not_taken_for_the_truth(rng):
    engine = engine_of(*(baseline(sampled(TENTHS, 300, rng)) for _ in range(40)))
    for _ in range(60):
        readings = engine.step({WHOLE: [sampled(TENTHS, 250, rng) for _ in engine.baselines]})
    assert max(reading.evidence[0] for reading in readings) < THRESHOLD


def test_each_tier_asks_for_evidence_against_its_own_null(rng):
    engine = engine_of(tenths())
    feed(engine, TENTHS, WARM_UP, rng)
    moderate = shifted(TENTHS, 0.45)
    assert 0.15 < scores.psi(moderate * 1e6, TENTHS * 1e6) < 0.25
    reading = feed(engine, moderate, 60, rng, rows=100)
    minor, middle, significant = reading.evidence
    assert minor > middle > significant


def test_the_higher_tiers_sleep_while_there_is_no_evidence_at_all(rng):
    assert feed(engine_of(tenths()), TENTHS, 50, rng).evidence[1:] == (0.0, 0.0)


def test_the_score_can_be_computed_from_the_counts_that_are_reported(rng):
    engine = engine_of(tenths())
    feed(engine, TENTHS, WARM_UP, rng)
    reading = feed(engine, shifted(TENTHS, 0.8), 12, rng)
    assert reading.score == pytest.approx(scores.psi(reading.current, reading.reference))
    assert reading.current.sum() == pytest.approx(reading.rows)
    assert reading.reference.sum() == pytest.approx(5_000)


def test_the_score_of_a_long_change_is_its_size(rng):
    engine = engine_of(tenths())
    changed = shifted(TENTHS, 0.7)
    reading = feed(engine, changed, 40, rng, rows=320)
    assert reading.score == pytest.approx(scores.psi(changed * 1e6, TENTHS * 1e6), abs=0.12)


def test_the_quiet_score_is_the_first_to_see_the_end(rng):
    engine = engine_of(tenths())
    feed(engine, shifted(TENTHS, 1.0), 60, rng)
    reading = feed(engine, TENTHS, 30, rng)
    assert reading.quiet_score < 0.05


def test_nothing_is_judged_before_the_burstiness_is_measured(rng):
    engine = engine_of(tenths())
    early = feed(engine, shifted(TENTHS, 1.5), 10, rng)
    assert early.evidence == (0.0, 0.0, 0.0)
    assert "9 of 16 steps" in early.not_judged
    assert feed(engine, shifted(TENTHS, 1.5), 10, rng).not_judged is None


def test_a_reference_too_bursty_for_its_size_is_not_judged_and_says_so(rng):
    reading = feed(engine_of(tenths(rows=1_000, dispersion=80.0)), shifted(TENTHS, 2.0), 40, rng)
    assert reading.evidence == (0.0, 0.0, 0.0)
    assert reading.not_judged == "the reference's 1000 rows are worth 12 independent ones, 15 are needed"


def test_a_small_reference_finds_only_large_changes(rng):
    small, large = engine_of(tenths(rows=40)), engine_of(tenths())
    for engine in (small, large):
        feed(engine, TENTHS, WARM_UP, rng)
    assert steps_until_sure(small, shifted(TENTHS, 2.0), rng) < 40
    small.reset(0)
    assert steps_until_sure(small, shifted(TENTHS, 1.0), rng) > 4 * steps_until_sure(large, shifted(TENTHS, 1.0), rng)


def test_burstiness_that_the_reference_hides_is_measured_for_longer(rng):
    engine = engine_of(tenths())
    for _ in range(40):
        reading = engine.step({WHOLE: [20 * sampled(TENTHS, 2, rng)]})[0]
    assert reading.not_judged == "measuring how bursty the rows are: 39 of 64 steps compared"


def test_rows_that_come_in_bursts_count_as_fewer(rng):
    alone, bursty = engine_of(tenths()), engine_of(tenths(dispersion=10.0))
    for engine in (alone, bursty):
        feed(engine, TENTHS, WARM_UP, rng)
    quick, slow = (steps_until_sure(engine, shifted(TENTHS, 1.0), rng) for engine in (alone, bursty))
    assert slow > 4 * quick


def test_bursts_that_only_the_live_stream_has_raise_no_alarm(rng):
    engine, highest = engine_of(*(tenths() for _ in range(20))), 0.0
    for _ in range(100):
        readings = engine.step({WHOLE: [20 * sampled(TENTHS, 2, rng) for _ in engine.baselines]})
        highest = max(highest, *(reading.evidence[0] for reading in readings))
    assert highest < THRESHOLD


def test_a_step_without_rows_changes_nothing(rng):
    engine = engine_of(tenths(), tenths(name="feature:y"))
    for _ in range(WARM_UP):
        engine.step({WHOLE: [sampled(shifted(TENTHS, 0.5), 40, rng), sampled(TENTHS, 40, rng)]})
    before = engine.state()
    nothing = np.zeros(10, dtype=np.int64)
    readings = engine.step({WHOLE: [nothing, nothing], 3: [nothing, nothing]})
    assert [reading.in_step for reading in readings] == [False, False]
    assert all(np.array_equal(value, before[name]) for name, value in engine.state().items())


def test_a_signal_that_is_not_in_the_step_stays_as_it_was(rng):
    engine, nothing = engine_of(tenths(), tenths(name="feature:y")), np.zeros(10, dtype=np.int64)
    for _ in range(WARM_UP):
        both = engine.step({WHOLE: [sampled(TENTHS, 40, rng), sampled(shifted(TENTHS, 0.5), 40, rng)]})
    for _ in range(5):
        last = engine.step({WHOLE: [sampled(TENTHS, 40, rng), nothing]})
    assert [reading.in_step for reading in last] == [True, False]
    assert (last[1].score, last[1].evidence, last[1].rows) == (both[1].score, both[1].evidence, both[1].rows)


def test_signals_of_any_width_are_judged_as_each_alone(rng):
    widths = (2, 10, 54)
    baselines = [baseline(np.full(width, 100), ordered=width == 10) for width in widths]
    engines, together = [engine_of(each) for each in baselines], engine_of(*baselines)
    for step in range(40):
        shares = [np.exp(0.02 * step * np.linspace(-1, 1, width)) for width in widths]
        counts = [sampled(each / each.sum(), 50, rng) for each in shares]
        alone = [engine.step({WHOLE: [each]})[0] for engine, each in zip(engines, counts, strict=True)]
        for one, other in zip(alone, together.step({WHOLE: counts}), strict=True):
            assert other.score == pytest.approx(one.score, rel=1e-9)
            assert other.evidence == pytest.approx(one.evidence, rel=1e-6, abs=1e-9)


def test_the_order_in_which_the_phases_of_a_step_are_named_does_not_matter(rng):
    one, other = (engine_of(day_and_night()) for _ in range(2))
    for _ in range(30):
        day, night = sampled(DAY, 30, rng), sampled(NIGHT, 20, rng)
        (first,), (second,) = one.step({0: [day], 1: [night]}), other.step({1: [night], 0: [day]})
    assert (first.score, first.evidence) == (second.score, second.evidence)


DAY, NIGHT = shifted(TENTHS, 0.6), shifted(TENTHS, -0.6)


def day_and_night(rows=4_000):
    phases = {phase: np.rint(rows * shares).astype(np.int64) for phase, shares in enumerate((DAY, NIGHT))}
    return baseline({WHOLE: phases[0] + phases[1], **phases})


def test_a_night_is_compared_with_nights(rng):
    engine = engine_of(day_and_night())
    for _ in range(200):
        (reading,) = engine.step({1: [sampled(NIGHT, 40, rng)]})
    assert reading.evidence[0] < 5
    assert reading.score < 0.03


def test_a_night_like_a_day_is_a_drift(rng):
    engine = engine_of(day_and_night())
    for _ in range(40):
        (reading,) = engine.step({1: [sampled(DAY, 40, rng)]})
    assert reading.evidence[0] > THRESHOLD
    assert reading.score > 0.5


@pytest.fixture
def hourly(rng):
    """An engine whose reference has 200 rows for each hour of the day, and the true shares of each."""
    hours = [shifted(TENTHS, 0.6 * np.sin(2 * np.pi * hour / 24)) for hour in range(24)]
    phases = {hour: sampled(shares, 200, rng) for hour, shares in enumerate(hours)}
    return engine_of(baseline({WHOLE: np.sum(list(phases.values()), axis=0), **phases})), hours


def test_a_day_like_all_days_gives_no_evidence_though_each_hour_rests_on_few_rows(hourly, rng):
    engine, hours = hourly
    highest = 0.0
    for step in range(3 * 24 * 6):
        (reading,) = engine.step({step // 6 % 24: [sampled(hours[step // 6 % 24], 40, rng)]})
        highest = max(highest, reading.evidence[0])
    assert highest < 6


def test_a_shift_is_found_soon_though_each_hour_rests_on_few_rows(hourly, rng):
    engine, hours = hourly
    for step in range(24 * 6):
        engine.step({step // 6 % 24: [sampled(hours[step // 6 % 24], 40, rng)]})
    changed = [shares * np.exp(np.linspace(-1.5, 1.5, 10)) for shares in hours]
    for step in range(20):
        hour = step // 6 % 24
        (reading,) = engine.step({hour: [sampled(changed[hour] / changed[hour].sum(), 40, rng)]})
    assert reading.evidence[0] > THRESHOLD


def test_evidence_gathered_by_day_goes_on_at_night(rng):
    engine = engine_of(day_and_night())
    for _ in range(WARM_UP):
        engine.step({0: [sampled(DAY, 40, rng)]})
    changed = [shares * np.exp(np.linspace(0.8, -0.8, 10)) for shares in (DAY, NIGHT)]
    changed = [shares / shares.sum() for shares in changed]
    by_day = [engine.step({0: [sampled(changed[0], 40, rng)]})[0].evidence[0] for _ in range(30)]
    by_night = [engine.step({1: [sampled(changed[1], 40, rng)]})[0].evidence[0] for _ in range(30)]
    assert by_night[0] > 0.5 * by_day[-1]
    assert by_night[-1] > by_night[0] + 5


def test_a_phase_that_the_reference_never_saw_is_compared_with_the_whole():
    counts = np.array([40, 60])
    expectation = Expectation([{WHOLE: counts, 5: counts}], Ragged([2]), np.ones(1))
    assert expectation.of(7).shares.tolist() == [0.4, 0.6]


def test_thin_phases_that_differ_by_chance_alone_are_taken_for_the_whole(rng):
    counts = [sampled(TENTHS, 30, rng) for _ in range(100)]
    expectation = Expectation([{WHOLE: np.sum(counts, axis=0), **dict(enumerate(counts))}], Ragged([10]), np.ones(1))
    errors = [np.abs(expectation.of(phase).shares - 0.1).max() for phase in range(100)]
    assert max(errors) < 0.05
    assert expectation.of(0).rows[0] > 500


def test_phases_that_differ_keep_their_own_shares_and_rest_on_their_own_rows():
    expectation = Expectation([day_and_night(4_000).phases], Ragged([10]), np.ones(1))
    assert expectation.of(0).shares == pytest.approx(DAY, abs=0.005)
    assert expectation.of(0).rows[0] < 4_100


def test_expectations_of_many_phases_are_not_kept():
    expectation = Expectation([{WHOLE: np.array([5, 5])}], Ragged([2]), np.ones(1))
    first = expectation.of(0)
    assert expectation.of(0) is first
    for phase in range(1, 20):
        expectation.of(phase)
    assert expectation.of(0) is not first


def test_a_category_that_takes_over_is_found_without_an_order(rng):
    shares = np.array([0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])
    changed = np.array([0.3, 0.15, 0.08, 0.07, 0.05, 0.25, 0.05, 0.05])
    engine = engine_of(baseline((shares * 5_000).astype(int), ordered=False))
    feed(engine, shares, WARM_UP, rng)
    assert steps_until_sure(engine, changed, rng) < 15


def test_values_that_the_reference_never_had_are_found(rng):
    engine = engine_of(baseline(np.append(np.full(10, 500), 0), ordered=False))
    feed(engine, np.append(TENTHS, 0), WARM_UP, rng)
    assert steps_until_sure(engine, np.append(0.85 * TENTHS, 0.15), rng) < 10


def test_a_constant_that_changes_is_found_at_once(rng):
    engine = engine_of(baseline(np.array([0, 5_000, 0, 0, 0])))
    feed(engine, np.array([0, 1, 0, 0, 0]), WARM_UP, rng)
    assert steps_until_sure(engine, np.array([0, 0, 1, 0, 0]), rng) <= 2


def test_after_a_reset_a_signal_starts_afresh(rng):
    engine = engine_of(tenths())
    feed(engine, TENTHS, WARM_UP, rng)
    assert feed(engine, shifted(TENTHS, 1.0), 20, rng).evidence[0] > THRESHOLD
    engine.reset(0)
    (reading,) = engine.step({})
    assert (reading.score, reading.evidence, reading.rows) == (0.0, (0.0, 0.0, 0.0), 0.0)
    assert reading.not_judged is None
    assert feed(engine, TENTHS, 30, rng).evidence[0] < 3


def test_a_reset_above_a_tier_keeps_what_lies_below(rng):
    engine = engine_of(tenths())
    feed(engine, TENTHS, WARM_UP, rng)
    before = feed(engine, shifted(TENTHS, 1.0), 20, rng)
    engine.reset(0, above=1)
    (after,) = engine.step({})
    assert after.evidence == (before.evidence[0], 0.0, 0.0)
    assert after.score == before.score


def test_a_state_of_another_reference_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        engine_of(tenths()).restore(engine_of(baseline(np.full(12, 100))).state())


def test_the_state_does_not_grow_with_the_stream(rng):
    engine = engine_of(tenths())
    sizes = []
    for _ in range(2):
        feed(engine, TENTHS, 100, rng)
        sizes.append(sum(value.nbytes for value in engine.state().values()))
    assert sizes[0] == sizes[1] < 10_000
