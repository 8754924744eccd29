"""How ``bench.surrogates`` compares: everybody at the same share of false alarms, and delays of what was not found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.error_rivals import DEFAULTS, RIVALS, read_changed, read_stable
from bench.surrogate_plays import Found, LateProduction, Said, flip, silent
from bench.surrogate_report import delays, found_in, quiet_in, settings
from bench.surrogates import Kept
from schemas.model_spec import CONCEPT, MIMIC, MULTIVARIATE


def said(
    contender: str, delay: int | None, setting: int = 0, *, rise: float = 0.1, false_alarm: bool = False, late: int = 0
) -> Said:
    return Said("noaa", "1 -> 0", late, rise, contender, setting, false_alarm, delay, 5_000)


def test_a_rival_gets_its_most_sensitive_setting_with_no_more_false_alarms_than_the_challengers() -> None:
    episodes = [
        said(CONCEPT, 100),
        said("adwin", 50, 0, false_alarm=True),
        said("adwin", 300, 1),
        said("adwin", 500, 2),
    ]
    assert settings(episodes) == {CONCEPT: 0, "adwin": 1}


def test_a_rival_that_always_alarms_is_left_out() -> None:
    assert settings([said(CONCEPT, 100), said("ddm", 50, false_alarm=True)]) == {CONCEPT: 0}


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


def test_a_rival_at_river_s_own_setting_is_reported_beside_it() -> None:
    (row,) = delays([said(CONCEPT, 100), said("adwin", 50, 0, false_alarm=True), said("adwin", 300, 1)])
    assert (row["best_delay"], row["best_default"], row["default_delay"]) == (300, "adwin", 50)
    assert row["at_defaults"]["adwin"] == {"delay": 50, "alarmed": 1}


def test_rows_until_labels_come_count_only_from_the_onset() -> None:
    (row,) = delays([said(CONCEPT, 100, late=500), said("adwin", 300, late=500)])
    assert (row["met"], row["met_from_onset"]) == (True, False)


def test_every_rival_has_river_s_own_setting_in_its_grid() -> None:
    assert {name: RIVALS[name][place][0] for name, place in DEFAULTS.items()} == {
        "adwin": "delta=0.002",
        "ddm": "drift_threshold=3",
        "eddm": "beta=0.9",
        "hddm_a": "drift_confidence=0.001",
        "hddm_w": "drift_confidence=0.001",
        "page_hinkley": "threshold=50",
        "kswin": "alpha=0.005",
    }


@pytest.mark.parametrize("name", ["adwin", "hddm_a"])
def test_an_error_that_falls_is_a_change_as_well(name: str) -> None:
    _, make = RIVALS[name][0]
    detector = make()
    assert not read_stable(detector, [0, 1] * 200)
    assert read_changed(detector, [0] * 400) is not None


def test_quiet_streams_are_held_against_the_share_that_the_budget_allows() -> None:
    calm, loud = Found("bursts", (), {}), Found("bursts", (CONCEPT,), {})
    assert quiet_in("bursts", [calm] * 20, 1_000)["met"]
    assert not quiet_in("bursts", [*[calm] * 18, loud, loud], 1_000)["met"]


def test_a_run_that_was_stopped_goes_on_with_what_it_kept(tmp_path: Path) -> None:
    swaps, other = ("swaps", ("here", "noaa", 0, 0)), ("flip", (3,))
    first = Kept(tmp_path / "kept")
    first.add(swaps, [said(CONCEPT, 100)])
    first.add(other, Found("flip", ("label",), {MULTIVARIATE: 96}))
    second = Kept(tmp_path / "kept")
    assert second["swaps", ("elsewhere", "noaa", 0, 0)] == [said(CONCEPT, 100)]
    assert second[other] == Found("flip", ("label",), {MULTIVARIATE: 96})
    assert ("flip", (4,)) not in second


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
