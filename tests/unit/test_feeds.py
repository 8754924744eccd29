"""What a chosen detector is told of a step's counts: a mean, or rows of zeros and ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.feeds import MOST_ROWS_A_STEP, Feed, SpreadOnes, StepMeans, Vectors
from detector.layout import Layout
from detector.reference import reference_vectors
from detector.rows import STAGES
from tests.support.data import MONDAY, category, frozen_of, numbers, rows_of, spec_of

HOURS = 24
REFERENCE_ROWS = 4_800
RNG = np.random.default_rng(1)
TIMES = MONDAY + 3_600.0 * (np.arange(REFERENCE_ROWS) % HOURS)
X = RNG.normal(10.0, 2.0, REFERENCE_ROWS)
"""Ten, give or take two."""
C = ["common", "common", "common", "rare"] * (REFERENCE_ROWS // 4)
"""A quarter of them rare."""
SPEC = frozen_of(spec_of(*numbers("x"), category("c")), {"feature:x": X, "feature:c": C})
LAYOUT = Layout(SPEC)
NUMBER, CATEGORY = 0, 1


def counted(layout: Layout, **columns: object) -> Vectors:
    """A step of rows, by phase."""
    times = columns.pop("times", None)
    named = {f"feature:{name}": values for name, values in columns.items()}
    profile = layout.count(rows_of(layout.spec, named, times=times))  # type: ignore[arg-type]
    return {phase: vector for (stage, phase), vector in profile.parts.items() if stage is STAGES[0]}


def step(x: list[float] | None = None, c: list[str | None] | None = None) -> Vectors:
    return counted(LAYOUT, **{name: values for name, values in {"x": x, "c": c}.items() if values is not None})


def means(signal: int) -> Feed:
    return StepMeans(LAYOUT, signal, reference_vectors(SPEC, LAYOUT))


def ones() -> SpreadOnes:
    return SpreadOnes(LAYOUT, CATEGORY, reference_vectors(SPEC, LAYOUT))


def rare(count: int, rows: int) -> Vectors:
    return step(c=["rare"] * count + ["common"] * (rows - count))


# Means


def test_a_number_is_told_as_the_distance_of_its_mean_from_the_references_in_sd() -> None:
    (value,) = means(NUMBER).values(step([14.0, 16.0]))
    assert value == pytest.approx((15.0 - X.mean()) / X.std(), rel=1e-4)


def test_missing_values_of_a_number_are_left_out() -> None:
    assert means(NUMBER).values(step([14.0, np.nan])) == means(NUMBER).values(step([14.0]))


def test_a_step_in_which_all_values_are_missing_says_nothing() -> None:
    assert means(NUMBER).values(step([np.nan, np.nan])) == []


def test_a_category_is_told_as_its_share_outside_the_most_frequent_minus_the_references() -> None:
    (value,) = means(CATEGORY).values(rare(8, 10))
    assert value == pytest.approx(0.8 - 0.25)


@pytest.mark.parametrize("other", ["rare", "never seen", None])
def test_whatever_is_not_the_most_frequent_category_counts_alike(other: str | None) -> None:
    assert means(CATEGORY).values(step(c=[other, "common"])) == [pytest.approx(0.5 - 0.25)]


def test_with_seasons_a_mean_is_compared_with_that_of_its_own_hour() -> None:
    hour = np.arange(REFERENCE_ROWS) % HOURS
    wavy = frozen_of(spec_of(*numbers("x"), seasonality="daily"), {"feature:x": X + 4.0 * (hour >= 12)}, times=TIMES)
    layout = Layout(wavy)
    feed = StepMeans(layout, 0, reference_vectors(wavy, layout))
    night, day = (feed.values(counted(layout, x=[x], times=[MONDAY + 3_600.0 * h]))[0] for x, h in ((10, 3), (14, 15)))
    assert abs(night - day) < 0.5
    assert abs(feed.values(counted(layout, x=[14], times=[MONDAY + 3 * 3_600.0]))[0]) > 1.0


# Zeros and ones


def test_a_small_step_is_told_row_by_row() -> None:
    told = ones().values(rare(3, 12))
    assert (len(told), sum(told)) == (12, 3)


def test_the_ones_are_spread_evenly() -> None:
    places = np.flatnonzero(ones().values(rare(4, 20)))
    assert {int(b - a) for a, b in pairwise(places)} == {5}


def test_a_large_step_is_told_as_fewer_rows_with_the_same_rate() -> None:
    told = ones().values(rare(5_000, 10_000))
    assert (len(told), sum(told)) == (MOST_ROWS_A_STEP, MOST_ROWS_A_STEP / 2)


def test_a_rate_below_one_row_a_step_is_not_lost() -> None:
    feed = ones()
    told = [value for _ in range(1_000) for value in feed.values(rare(1, 1_000))]
    assert sum(told) == pytest.approx(0.001 * len(told), abs=1)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 200)), min_size=1, max_size=20))
def test_any_steps_are_told_as_zeros_and_ones_whose_sum_is_off_by_one_at_most(steps: list[tuple[int, int]]) -> None:
    feed, told, expected = ones(), [], 0.0
    for count, rows in steps:
        told += feed.values(rare(min(count, rows), rows))
        expected += min(count, rows) / rows * min(rows, MOST_ROWS_A_STEP)
    assert set(told) <= {0.0, 1.0}
    assert abs(sum(told) - expected) <= 1.0
    assert 0.0 <= feed.state() < 1.0


def test_a_restored_feed_carries_on_with_the_same_part_of_a_one() -> None:
    feed, restored = ones(), ones()
    feed.values(rare(1, 7))
    restored.restore(feed.state())
    assert restored.values(rare(3, 7)) == feed.values(rare(3, 7))
