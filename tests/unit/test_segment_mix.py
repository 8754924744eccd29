"""A change of a whole taken apart: what other shares of segments make of it, and what happened within them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import rel_entr

from detector.segments.mix import MixCounts, decompose

WITHIN = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.0, 0.0, 0.0]])
"""Distributions of two segments over three bins; no row is without a segment."""
MANY = 1_000_000
BEFORE = np.array([0.5, 0.5, 0.0])[:, None] * WITHIN * MANY

counts = arrays(np.float64, (3, 4), elements=st.floats(0, 1_000)).filter(lambda each: each.sum() > 1)


def psi(now: np.ndarray, before: np.ndarray) -> float:
    q, p = (each.sum(axis=0) / each.sum() for each in (now, before))
    return float(rel_entr(q, p).sum() + rel_entr(p, q).sum())


def test_other_shares_of_segments_that_stayed_as_they_were_are_all_mix() -> None:
    now = np.array([0.2, 0.8, 0.0])[:, None] * WITHIN * MANY
    parts = decompose(now, BEFORE, BEFORE.sum(axis=0))
    assert parts.total == pytest.approx(psi(now, BEFORE), rel=1e-4)
    assert parts.explained == pytest.approx(1.0)
    assert np.allclose(parts.within, 0.0)


def test_a_change_within_one_segment_is_no_mix_and_is_that_segments() -> None:
    changed = WITHIN.copy()
    changed[1] = [0.6, 0.3, 0.1]
    now = np.array([0.5, 0.5, 0.0])[:, None] * changed * MANY
    parts = decompose(now, BEFORE, BEFORE.sum(axis=0))
    assert parts.total == pytest.approx(psi(now, BEFORE), rel=1e-4)
    assert parts.explained == pytest.approx(0.0, abs=1e-9)
    assert parts.within == pytest.approx([0.0, parts.total, 0.0])


def test_of_a_loss_the_rise_of_the_mean_is_taken_apart() -> None:
    costs = np.array([0.0, 0.5, 1.0])
    now = np.array([0.2, 0.8, 0.0])[:, None] * WITHIN * MANY
    parts = decompose(now, BEFORE, BEFORE.sum(axis=0), costs)
    means = WITHIN[:2] @ costs
    assert parts.total == pytest.approx((0.2 * means[0] + 0.8 * means[1]) - means.mean())
    assert parts.explained == pytest.approx(1.0)


def test_what_the_season_explains_is_no_change() -> None:
    evening = np.array([2.0, 1.0, 0.5])  # in this phase of the season the first bin is twice as common
    now = BEFORE * evening
    parts = decompose(now, BEFORE, BEFORE.sum(axis=0) * evening)
    assert abs(parts.total) < 0.02
    assert decompose(now, BEFORE, BEFORE.sum(axis=0)).total > 0.2


@settings(max_examples=60, deadline=None)
@given(now=counts, before=counts)
def test_the_two_parts_add_up_to_the_change(now: np.ndarray, before: np.ndarray) -> None:
    parts = decompose(now, before, before.sum(axis=0))
    assert parts.mix + parts.within.sum() == pytest.approx(parts.total, abs=1e-9)
    assert parts.explained is None or 0.0 <= parts.explained <= 1.0


def test_rows_of_no_segment_are_what_the_segments_leave_of_the_whole() -> None:
    kept = MixCounts(segments=2, width=3)
    kept.add(np.array([10, 5, 5]), np.array([[4, 1, 0], [6, 2, 1]]), rows=20)
    assert kept.of(128, range(2), slice(0, 3)).tolist() == [[4, 1, 0], [6, 2, 1], [0, 2, 4]]


def test_counts_fade_by_the_rows_of_the_whole() -> None:
    kept = MixCounts(segments=1, width=1)
    kept.add(np.array([128]), np.array([[64]]), rows=128)
    kept.add(np.array([0]), np.array([[0]]), rows=128)
    assert kept.of(128, range(1), slice(0, 1)).tolist() == [[32], [32]]
