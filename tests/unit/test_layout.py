"""Counting rows into the vector of a layout, and reading it."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from detector import layout as layout_module
from detector.layout import Layout
from detector.profile import Profile
from detector.rows import INVALID, Source
from detector.season import Season
from schemas.model_spec import (
    FeaturesFrom,
    FeatureSpec,
    FeatureType,
    Output,
    PredictionSpec,
    Seasonality,
    Stage,
)
from tests.support.data import MONDAY, category, frozen_of, numbers, rows_of, spec_of

RNG = np.random.default_rng(3)
N = 2_000
FEATURES = (*numbers("income"), category("plan"), FeatureSpec(name="member", type=FeatureType.BOOLEAN))
DRAFT = spec_of(*FEATURES, prediction=PredictionSpec(output=Output.SCORE))
INCOME, PLAN, MEMBER, SCORE = DRAFT.signals


def columns(n: int, seed: int = 4) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    return {
        INCOME: rng.lognormal(size=n),
        PLAN: rng.choice(["free", "team", "pro"], size=n).tolist(),
        MEMBER: rng.choice(["true", "false"], size=n).tolist(),
        SCORE: rng.random(n),
    }


SPEC = frozen_of(DRAFT, columns(N))
LAYOUT = Layout(SPEC)


def vector_of(profile: Profile, stage: Stage = Stage.PRODUCTION, phase: int = 0) -> np.ndarray:
    return profile.parts[stage, phase]


def test_a_spec_without_a_reference_has_no_layout() -> None:
    with pytest.raises(ValueError, match="m 1 has no reference"):
        Layout(DRAFT)


def test_bins_of_all_signals_stand_side_by_side_behind_the_row_counts() -> None:
    assert LAYOUT.slices[0].start == 2
    assert [where.start for where in LAYOUT.slices[1:]] == [where.stop for where in LAYOUT.slices[:-1]]
    assert [where.stop - where.start for where in LAYOUT.slices] == [binner.width for binner in LAYOUT.binners]
    assert LAYOUT.width == LAYOUT.slices[-1].stop + 4  # sums and squares of two numbers


def test_every_signal_counts_what_its_binner_says() -> None:
    given = columns(500) | {INCOME: np.r_[columns(497)[INCOME], np.nan, np.inf, -np.inf]}  # type: ignore[arg-type]
    rows = rows_of(SPEC, given)
    for counted, binner, column in zip(
        LAYOUT.signal_counts(vector_of(LAYOUT.count(rows))), LAYOUT.binners, rows.columns, strict=True
    ):
        assert column is not None
        assert counted.tolist() == np.bincount(binner.index(column), minlength=binner.width).tolist()


def test_rows_are_counted_by_their_source() -> None:
    spec = SPEC.model_copy(update={"features_from": FeaturesFrom.FEATURES})
    layout = Layout(spec)
    features = {name: column for name, column in columns(30).items() if name != SCORE}
    profile = layout.count(rows_of(spec, features, source=Source.FEATURES))
    profile.add(layout.count(rows_of(spec, {SCORE: [0.5] * 7})))
    vector = vector_of(profile)
    assert vector[:2].tolist() == [30, 7]
    assert layout.row_count(vector) == profile.rows == 37
    assert [int(counted.sum()) for counted in layout.signal_counts(vector)] == [30, 30, 30, 7]


def test_no_rows_are_an_empty_profile() -> None:
    assert LAYOUT.count(rows_of(SPEC, columns(5)).slice(0, 0)).parts == {}


def test_rows_that_carry_nothing_are_still_counted() -> None:
    rows = rows_of(SPEC, columns(5))
    bare = type(rows)(rows.source, rows.offsets, rows.times, rows.stages, (None,) * len(SPEC.signals))
    assert LAYOUT.count(bare).rows == 5


def test_stages_are_counted_apart() -> None:
    stages = [Stage.PRODUCTION, Stage.SHADOW, Stage.PRODUCTION, Stage.CANARY, Stage.SHADOW, Stage.PRODUCTION]
    profile = LAYOUT.count(rows_of(SPEC, columns(6), stages=stages))
    assert {key: int(vector[1]) for key, vector in profile.parts.items()} == {
        (Stage.PRODUCTION, 0): 3,
        (Stage.SHADOW, 0): 2,
        (Stage.CANARY, 0): 1,
    }


def test_parts_counted_together_are_those_counted_alone() -> None:
    spec = SPEC.model_copy(update={"seasonality": Seasonality.DAILY})
    layout = Layout(spec)
    stages = RNG.choice([Stage.PRODUCTION, Stage.SHADOW], size=300).tolist()
    rows = rows_of(spec, columns(300), times=MONDAY + RNG.random(300) * 86_400, stages=stages)
    alone = Profile()
    for i in range(len(rows)):
        alone.add(layout.count(rows.slice(i, i + 1)))
    assert len(alone.parts) == 48
    assert layout.count(rows) == alone


def test_many_rows_are_counted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(SPEC, columns(1_000))
    whole = LAYOUT.count(rows)
    monkeypatch.setattr(layout_module, "BLOCK_CELLS", 1)
    monkeypatch.setattr(layout_module, "MIN_BLOCK_ROWS", 7)
    assert Layout(SPEC).count(rows) == whole


# ------------------------------------------------------------------------------------------------- moments


def test_mean_and_deviation_are_those_of_the_values() -> None:
    given = columns(1_000, seed=5)
    vector = vector_of(LAYOUT.count(rows_of(SPEC, given)))
    assert LAYOUT.mean(vector, 0) == pytest.approx(np.mean(given[INCOME]), rel=1e-5)  # type: ignore[arg-type]
    assert LAYOUT.sd(vector, 0) == pytest.approx(np.std(given[INCOME]), rel=1e-2)  # type: ignore[arg-type]


def test_missing_and_invalid_values_have_no_part_in_the_mean() -> None:
    rows = rows_of(SPEC, columns(4) | {INCOME: [1.0, np.nan, np.inf, 3.0]})
    assert LAYOUT.mean(vector_of(LAYOUT.count(rows)), 0) == pytest.approx(2.0, rel=1e-5)


def test_a_category_and_a_signal_without_values_have_no_mean() -> None:
    vector = vector_of(LAYOUT.count(rows_of(SPEC, columns(3) | {INCOME: [np.nan] * 3})))
    assert LAYOUT.mean(vector, 0) is LAYOUT.sd(vector, 0) is None
    assert LAYOUT.mean(vector, 1) is LAYOUT.sd(vector, 1) is None


def test_the_mean_of_a_difference_of_totals_is_that_of_the_rows_between() -> None:
    rows = rows_of(SPEC, columns(800))
    before, after = LAYOUT.count(rows.slice(0, 300)), LAYOUT.count(rows)
    income = rows.columns[0]
    assert isinstance(income, np.ndarray)
    assert LAYOUT.mean(vector_of(after.subtract(before)), 0) == pytest.approx(income[300:].mean(), rel=1e-5)


def test_sums_clip_values_to_the_bounds_of_the_feature() -> None:
    bounded = FeatureSpec(name="income", type=FeatureType.NUMBER, bounds=(0.0, 10.0))
    layout = Layout(SPEC.model_copy(update={"features": (bounded, *FEATURES[1:])}))
    rows = rows_of(SPEC, columns(2) | {INCOME: [-5.0, 1e9]})
    assert layout.mean(vector_of(layout.count(rows)), 0) == pytest.approx(5.0, rel=1e-4)


def test_one_absurd_value_moves_the_mean_by_no_more_than_4096_deviations() -> None:
    rows = rows_of(SPEC, columns(1_000) | {INCOME: np.r_[np.ones(999), 1.7e308]})
    mean = LAYOUT.mean(vector_of(LAYOUT.count(rows)), 0)
    bins = LAYOUT.binners[0].bins  # type: ignore[attr-defined]
    assert mean == pytest.approx(1.0 + (4_096 * bins.scale + bins.center - 1.0) / 1_000, rel=1e-3)


def test_invalid_values_are_named_by_feature() -> None:
    rows = rows_of(SPEC, columns(3) | {INCOME: [np.inf, 1.0, -np.inf], MEMBER: [INVALID, "true", "false"]})
    assert LAYOUT.invalid_values(vector_of(LAYOUT.count(rows))) == {"income": 2, "member": 1}


# ------------------------------------------------------------------------------------------------- phases


def test_without_seasonality_there_is_one_phase() -> None:
    assert LAYOUT.phase_of(np.array([0.0, MONDAY])).tolist() == [0, 0]


@pytest.mark.parametrize(
    "timezone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
)
def test_a_phase_is_the_local_hour_whatever_the_clocks_do(timezone: str) -> None:
    times = np.concatenate([MONDAY + np.arange(0, 366 * 86_400, 7_777.7), [MONDAY]])
    local = [datetime.fromtimestamp(time, ZoneInfo(timezone)) for time in times]
    assert Season(Seasonality.DAILY, timezone).phase_of(times).tolist() == [at.hour for at in local]
    weekly = Season(Seasonality.WEEKLY, timezone).phase_of(times)
    assert weekly.tolist() == [24 * at.weekday() + at.hour for at in local]


def test_the_hour_that_is_skipped_in_spring_has_no_rows_and_the_one_repeated_in_autumn_twice_as_many() -> None:
    def hours(day: str) -> list[int]:
        midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
        phases = Season(Seasonality.DAILY, "Europe/Berlin").phase_of(midnight + np.arange(0, 5 * 3_600, 900.0))
        return np.bincount(phases, minlength=6).tolist()

    assert hours("2024-03-31") == [4, 4, 0, 4, 4, 4]
    assert hours("2024-10-27") == [4, 4, 8, 4, 0, 0]


def test_a_time_that_is_missing_has_no_phase() -> None:
    with pytest.raises(ValueError, match="time"):
        Season(Seasonality.DAILY, "UTC").phase_of(np.array([MONDAY, np.nan]))
