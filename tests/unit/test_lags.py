"""How late labels come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.lags import EDGES, WIDTH, LabelArrivals, coverage, lag_places


def arrivals(lags: list[float]) -> LabelArrivals:
    places = lag_places(np.array(lags))
    return LabelArrivals.of(np.bincount(places[places >= 0], minlength=WIDTH))


@given(st.lists(st.floats(1.0, 3e7), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_within_a_quarter_of_a_doubling_of_the_true_one(lags: list[float], q: float) -> None:
    true = np.quantile(lags, q, method="inverted_cdf")
    found = arrivals(lags).quantile(q)
    assert found is not None
    assert 2**-0.2501 < found / true < 2**0.2501


def test_a_lag_that_is_not_known_is_not_counted() -> None:
    assert lag_places(np.array([np.nan, 5.0])).tolist()[0] == -1
    assert arrivals([np.nan]).quantile(0.5) is None


def test_a_label_before_its_prediction_has_the_shortest_lag() -> None:
    found = arrivals([-3_600.0, 0.5]).quantile(0.5)
    assert found is not None
    assert 0.0 <= found <= 1.0


def test_a_lag_of_more_than_a_year_is_told_as_the_longest() -> None:
    assert arrivals([1e9]).quantile(0.5) == EDGES[-1]


def test_every_lag_has_a_place_in_the_section() -> None:
    places = lag_places(np.array([-np.inf, 0.0, 1.0, EDGES[-1], np.inf]))
    assert places.tolist() == [1, 1, 2, WIDTH - 1, WIDTH - 1]


def test_coverage_takes_the_sample_of_the_join_into_account() -> None:
    assert coverage(predictions=1_000, labels=250, joined=250, sample=0.5) == pytest.approx(0.5)
    assert coverage(predictions=1_000, labels=250, joined=0, sample=0.5) == pytest.approx(0.25)


def test_coverage_is_at_most_one_and_unknown_without_predictions() -> None:
    assert coverage(predictions=10, labels=20, joined=20, sample=1.0) == 1.0
    assert coverage(predictions=0, labels=20, joined=20, sample=1.0) is None
