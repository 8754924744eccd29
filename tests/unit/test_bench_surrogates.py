"""How ``bench.surrogates`` compares: everybody at the same share of false alarms, and delays of what was not found."""

from __future__ import annotations

import numpy as np
import pytest

from bench.surrogate_plays import Found, LateProduction, Said, flip, silent
from bench.surrogates import calibrated, delays, found_in
from schemas.model_spec import CONCEPT, MIMIC, MULTIVARIATE


def said(contender: str, delay: int | None, setting: int = 0, *, rise: float = 0.1, false_alarm: bool = False) -> Said:
    return Said("noaa", "1 -> 0", 0, rise, contender, setting, false_alarm, delay)


def test_a_rival_gets_its_most_sensitive_setting_with_no_more_false_alarms_than_the_challengers() -> None:
    episodes = [
        said(CONCEPT, 100),
        said("adwin", 50, 0, false_alarm=True),
        said("adwin", 300, 1),
        said("adwin", 500, 2),
    ]
    assert calibrated(episodes) == {CONCEPT: 0, "adwin": 1}


def test_a_rival_that_always_alarms_is_left_out() -> None:
    assert calibrated([said(CONCEPT, 100), said("ddm", 50, false_alarm=True)]) == {CONCEPT: 0}


@pytest.mark.parametrize(
    ("own", "rise", "met"), [(150, 0.1, True), (151, 0.1, False), (364, 0.3, True), (365, 0.3, False)]
)
def test_where_the_error_hardly_rises_half_the_delay_is_asked_elsewhere_64_rows(
    own: int, rise: float, met: bool
) -> None:
    (row,) = delays([said(CONCEPT, own, rise=rise), said("adwin", 300, rise=rise)])
    assert (row["best"], row["best_delay"], row["met"]) == ("adwin", 300, met)


def test_what_most_do_not_find_has_no_median_delay() -> None:
    (row,) = delays([said(CONCEPT, 100), said("adwin", None)])
    assert (row["best_delay"], row["asked"], row["met"]) == (None, None, True)


def test_a_flip_counts_only_where_no_feature_alarmed() -> None:
    quiet = [Found("flip", (), {MULTIVARIATE: 200})] * 20
    assert found_in("flip", quiet)["met"]
    assert not found_in("flip", [*quiet, Found("flip", (), {MULTIVARIATE: 200, "feature:f0": 900})])["met"]


def test_a_flip_and_a_silent_change_are_found_in_time() -> None:
    assert flip(0).delays[MULTIVARIATE] <= 1_000
    assert silent(0).delays[MIMIC] <= 500


def test_a_production_model_whose_labels_come_late_has_not_learned_them_yet() -> None:
    x, y = np.zeros((60, 1)), np.ones(60, dtype=np.int64)
    y[10:] = 0
    at_once, late = (LateProduction(rows).go(x, y).errors.sum() for rows in (0, 25))
    assert late > at_once
