import msgspec
import numpy as np
import pytest

from detector.readings import SignalReading
from detector.tiers import Tiers
from schemas.outbound import Tier
from tests.support.signals import TENTHS, baseline

SURE, DOUBT = 20.0, 3.0
"""Evidence above and below what the budget asks for."""


def tiers(signals=1):
    baselines = [baseline((TENTHS * 1_000).astype(int)) for _ in range(signals)]
    return Tiers(baselines, log_threshold=15.0, quiet_steps=3)


def reading(score, *, evidence=(SURE,) * 3, quiet=None, in_step=True):
    counts = np.full(2, 10.0)
    lately = score if quiet is None else quiet
    return SignalReading("feature:x", score, lately, tuple(evidence), 20.0, 128, counts, counts, None, in_step=in_step)


def fed(*readings):
    watched = tiers()
    for each in readings:
        watched.update([each])
    return watched


@pytest.mark.parametrize(
    ("score", "tier"), [(0.09, Tier.NONE), (0.1, Tier.MINOR), (0.2, Tier.MODERATE), (0.3, Tier.SIGNIFICANT)]
)
def test_with_evidence_the_score_sets_the_tier(score, tier):
    assert fed(reading(score)).current == (tier,)


def test_a_large_score_without_evidence_is_no_drift():
    assert fed(reading(0.9, evidence=(DOUBT, DOUBT, DOUBT))).current == (Tier.NONE,)


def test_much_evidence_of_a_small_change_is_no_drift():
    assert fed(reading(0.05, evidence=(900.0, 800.0, 700.0))).current == (Tier.NONE,)


def test_each_tier_needs_evidence_against_its_own_null():
    assert fed(reading(0.9, evidence=(SURE, SURE, DOUBT))).current == (Tier.MODERATE,)
    assert fed(reading(0.9, evidence=(SURE, DOUBT, DOUBT))).current == (Tier.MINOR,)


def test_going_up_takes_a_single_step():
    watched = fed(reading(0.12))
    assert watched.update([reading(0.4)]) == {}
    assert watched.current == (Tier.SIGNIFICANT,)


def test_going_down_takes_quiet_steps_in_a_row():
    watched = fed(reading(0.3), reading(0.3, quiet=0.01), reading(0.3, quiet=0.01))
    assert watched.current == (Tier.SIGNIFICANT,)
    assert watched.update([reading(0.3, quiet=0.01)]) == {0: Tier.NONE}
    assert watched.current == (Tier.NONE,)


def test_one_loud_step_starts_the_count_anew():
    quiet, loud = reading(0.3, quiet=0.01), reading(0.3, quiet=0.2)
    assert fed(loud, quiet, quiet, loud, quiet, quiet).current == (Tier.SIGNIFICANT,)


def test_half_a_tiers_score_is_enough_to_hold_it():
    assert fed(reading(0.1), *[reading(0.1, quiet=0.051)] * 10).current == (Tier.MINOR,)


def test_a_signal_falls_to_the_highest_tier_that_it_held_meanwhile():
    watched = fed(reading(0.3), reading(0.3, quiet=0.02), reading(0.3, quiet=0.06))
    assert watched.update([reading(0.3, quiet=0.02)]) == {0: Tier.MINOR}


def test_steps_without_rows_of_a_signal_are_not_quiet_steps():
    unseen = reading(0.3, quiet=0.01, in_step=False)
    assert fed(reading(0.3), *[unseen] * 10).current == (Tier.SIGNIFICANT,)


def test_signals_have_tiers_of_their_own():
    watched = tiers(signals=3)
    watched.update([reading(0.15), reading(0.01), reading(0.5)])
    assert watched.current == (Tier.MINOR, Tier.NONE, Tier.SIGNIFICANT)


def test_restored_tiers_continue_their_count():
    watched, copy = fed(reading(0.3), *[reading(0.3, quiet=0.01)] * 2), tiers()
    copy.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(watched.state())))
    assert copy.current == (Tier.SIGNIFICANT,)
    assert copy.update([reading(0.3, quiet=0.01)]) == {0: Tier.NONE}


def test_tiers_of_another_model_are_refused():
    with pytest.raises(ValueError, match="another number of signals"):
        tiers(signals=2).restore(tiers().state())
