import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from detector.evidence import EvidenceEngine
from detector.expectation import WHOLE
from detector.ragged import Ragged
from detector.sequential import log_bets
from tests.support.signals import baseline

WIDTHS = (2, 5, 12)

weights = st.floats(0.001, 1.0)


def shares(width):
    return st.lists(weights, min_size=width, max_size=width).map(lambda each: np.array(each) / sum(each))


def kl(p, q):
    return float((p * np.log(p / q)).sum())


@st.composite
def balls(draw):
    """A reference, an alternative, another direction from the reference, and a radius."""
    width = draw(st.integers(2, 15))
    p, q, other = (draw(shares(width)) for _ in range(3))
    return p, 0.1 * p + 0.9 * q, other, draw(st.floats(0.005, 0.5))


@given(balls())
@settings(max_examples=300, deadline=None)
def test_no_distribution_of_the_ball_expects_to_win_the_bet(ball):
    p, q, other, radius = ball
    bets, _ = log_bets(p, q[None], np.array([radius]), Ragged([len(p)]))

    def towards(direction):
        """The distribution on the way to ``direction`` that leaves the ball, or its end inside it."""
        inside = direction if kl(p, direction) <= radius else None
        if inside is not None:
            return inside
        along = brentq(lambda eta: kl(p, (1 - eta) * p + eta * direction) - radius, 0.0, 1.0, xtol=1e-14)
        return (1 - along) * p + along * direction

    for truth in (p, towards(q), towards(other), towards((q + other) / 2)):
        assert truth @ np.exp(bets[0]) <= 1 + 1e-7


@st.composite
def streams(draw):
    """Steps of counts for three signals of different widths, in one or two phases, some without rows."""
    count = st.integers(0, 30)
    signals = st.tuples(*(st.lists(count, min_size=width, max_size=width).map(np.array) for width in WIDTHS))
    step = st.dictionaries(st.sampled_from([0, 1]), signals, min_size=1)
    return draw(st.lists(step, min_size=2, max_size=8))


def baselines():
    rng = np.random.default_rng(5)
    for width in WIDTHS:
        phases = {phase: rng.multinomial(2_000, rng.dirichlet(np.full(width, 5.0))) for phase in (0, 1)}
        yield baseline({WHOLE: phases[0] + phases[1], **phases}, ordered=width != 5)


def warmed(engine):
    rng = np.random.default_rng(6)
    for _ in range(20):
        engine.step({phase: [rng.multinomial(30, np.full(width, 1 / width)) for width in WIDTHS] for phase in (0, 1)})
    return engine.state()


BASELINES = tuple(baselines())
WARM = warmed(EvidenceEngine(BASELINES, log_threshold=15.0))


def fresh():
    """An engine that has measured the burstiness, and has some evidence already."""
    engine = EvidenceEngine(BASELINES, log_threshold=15.0)
    engine.restore(WARM)
    return engine


def same(one, other):
    return all(np.array_equal(value, other[name]) for name, value in one.items())


@given(streams(), st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_a_restored_engine_continues_to_the_last_bit(stream, cut):
    original, copy = fresh(), fresh()
    for step in stream[:cut]:
        original.step(step)
    copy.restore(original.state())
    for step in stream[cut:]:
        for one, other in zip(original.step(step), copy.step(step), strict=True):
            assert (one.score, one.quiet_score, one.evidence, one.rows) == (
                other.score, other.quiet_score, other.evidence, other.rows,
            )  # fmt: skip
    assert same(original.state(), copy.state())


@given(streams())
@settings(max_examples=40, deadline=None)
def test_counts_of_zero_change_nothing(stream):
    plain, padded = fresh(), fresh()
    nothing = {phase: [np.zeros(width, dtype=int) for width in WIDTHS] for phase in (0, 1)}
    for step in stream:
        plain.step(step)
        padded.step(nothing)
        padded.step({**nothing, **step})
        padded.step({})
    assert same(plain.state(), padded.state())


@given(streams())
@settings(max_examples=40, deadline=None)
def test_whatever_comes_every_reading_is_a_number(stream):
    engine = fresh()
    for step in stream:
        for reading in engine.step(step):
            numbers = [reading.score, reading.quiet_score, reading.rows, *reading.evidence]
            assert np.isfinite([*numbers, *reading.current, *reading.reference]).all()
            assert min(numbers) >= 0
