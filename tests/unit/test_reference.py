"""Freezing a reference, and reading it as what signals are compared with."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from detector.expectation import WHOLE
from detector.layout import Layout
from detector.profile import Profile
from detector.reference import baselines, freeze, make_room_for_unseen
from detector.rows import Source
from schemas.codec import decode, encode
from schemas.model_spec import (
    FeaturesFrom,
    ModelSpec,
    NumberBins,
    OffsetRange,
    Output,
    PredictionSpec,
    Seasonality,
    Stage,
    TierSpec,
)
from tests.support.data import MONDAY, category, frozen_of, numbers, rows_of, spec_of

RNG = np.random.default_rng(7)
N = 2_000
DRAFT = spec_of(*numbers("age"), category("plan"), prediction=PredictionSpec(output=Output.SCORE))
AGE, PLAN, SCORE = DRAFT.signals
COLUMNS = {
    AGE: RNG.normal(40, 10, N),
    PLAN: RNG.choice(["free", "pro", "team"], N, p=[0.6, 0.3, 0.1]).tolist(),
    SCORE: RNG.random(N),
}


def counts_of(spec: ModelSpec, signal: str, phase: int = WHOLE) -> list[int]:
    found = {baseline.name: baseline for baseline in baselines(spec, Layout(spec))}
    return found[signal].phases[phase].tolist()


def test_a_frozen_spec_is_the_draft_with_a_reference() -> None:
    offsets = (OffsetRange(topic="predictions", partition=0, from_offset=0, to_offset=N),)
    spec = freeze(DRAFT, rows_of(DRAFT, COLUMNS), "train.csv", offsets=offsets, declared=DRAFT.hash)
    frozen = spec.reference.frozen
    assert frozen is not None
    assert (frozen.rows, frozen.origin, frozen.offsets, frozen.declared) == (N, "train.csv", offsets, DRAFT.hash)
    assert set(frozen.bins) == set(frozen.dispersion) == set(DRAFT.signals)
    assert spec.model_copy(update={"reference": DRAFT.reference}) == DRAFT


def test_a_frozen_spec_travels_as_json() -> None:
    mostly_zero = np.where(RNG.random(N) < 0.9, 0.0, COLUMNS[AGE])  # the atom's bin ends at the smallest float
    spec = frozen_of(DRAFT, COLUMNS | {AGE: mostly_zero})
    read = decode(ModelSpec, encode(spec))
    assert read == spec
    assert read.hash == spec.hash


def test_the_same_rows_freeze_to_the_same_hash() -> None:
    assert frozen_of(DRAFT, COLUMNS).hash == frozen_of(DRAFT, COLUMNS).hash


def test_the_reference_holds_its_own_rows() -> None:
    spec = frozen_of(DRAFT, COLUMNS)
    layout = Layout(spec)
    assert spec.reference.frozen is not None
    assert Profile.decode(spec.reference.frozen.profile, layout.width) == layout.count(rows_of(spec, COLUMNS))


def test_the_period_is_that_of_the_event_times() -> None:
    frozen = frozen_of(DRAFT, COLUMNS, times=MONDAY + np.arange(N)[::-1]).reference.frozen
    assert frozen is not None
    assert (frozen.since, frozen.until) == (
        datetime.fromtimestamp(MONDAY, UTC),
        datetime.fromtimestamp(MONDAY + N - 1, UTC),
    )


def test_rows_without_times_have_no_period() -> None:
    frozen = frozen_of(DRAFT, COLUMNS, times=np.full(N, np.nan)).reference.frozen
    assert frozen is not None
    assert frozen.since is frozen.until is None


def test_a_season_without_times_is_refused() -> None:
    daily = DRAFT.model_copy(update={"seasonality": Seasonality.DAILY})
    with pytest.raises(ValueError, match="need the time of every row"):
        frozen_of(daily, COLUMNS, times=np.full(N, np.nan))


def test_a_reference_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="reference of m 1 has no rows"):
        freeze(DRAFT, rows_of(DRAFT, COLUMNS).slice(0, 0), "empty")


def test_a_signal_that_no_row_carries_is_named() -> None:
    with pytest.raises(ValueError, match="carry feature:plan"):
        frozen_of(DRAFT, {AGE: COLUMNS[AGE], SCORE: COLUMNS[SCORE]})


def test_a_column_of_another_length_is_named() -> None:
    with pytest.raises(ValueError, match="feature:plan has 3 values in 2000 rows"):
        frozen_of(DRAFT, COLUMNS | {PLAN: ["free"] * 3})


def test_a_signal_that_is_always_missing_has_a_reference_of_missing_rows() -> None:
    spec = frozen_of(DRAFT, COLUMNS | {AGE: np.full(N, np.nan), PLAN: [None] * N})
    assert counts_of(spec, AGE) == [0, 0, 0, N, 0]
    assert counts_of(spec, PLAN) == [0, 0, N, 0]


def test_signals_of_two_streams_are_taken_from_the_rows_that_carry_them() -> None:
    spec = DRAFT.model_copy(update={"features_from": FeaturesFrom.FEATURES})
    features = rows_of(spec, {AGE: COLUMNS[AGE], PLAN: COLUMNS[PLAN]}, source=Source.FEATURES)
    predictions = rows_of(spec, {SCORE: COLUMNS[SCORE][:500]})
    frozen = freeze(spec, [features, predictions], "stream")
    assert frozen.reference.frozen is not None
    assert frozen.reference.frozen.rows == N
    assert [sum(counts_of(frozen, signal)) for signal in spec.signals] == [N, N, 500]


def test_rows_of_every_stage_count_alike() -> None:
    stages = [Stage.SHADOW if i % 2 else Stage.CANARY for i in range(N)]
    assert counts_of(frozen_of(DRAFT, COLUMNS, stages=stages), AGE) == counts_of(frozen_of(DRAFT, COLUMNS), AGE)


def test_dispersion_is_measured_on_the_order_of_the_rows() -> None:
    bursts = np.repeat(RNG.normal(size=N // 20), 20)
    spec = frozen_of(DRAFT, COLUMNS | {SCORE: bursts})
    shuffled = frozen_of(DRAFT, COLUMNS | {SCORE: RNG.permutation(bursts)})
    assert spec.reference.frozen is not None
    assert shuffled.reference.frozen is not None
    assert spec.reference.frozen.dispersion[AGE] == 1.0
    assert spec.reference.frozen.dispersion[SCORE] > 5
    assert shuffled.reference.frozen.dispersion[SCORE] < 2


def test_what_differs_between_phases_is_no_dispersion() -> None:
    times = MONDAY + np.arange(N) * 60.0
    by_hour = np.sin(2 * np.pi * times / 86_400) + RNG.normal(0, 0.1, N)
    plain = frozen_of(DRAFT, COLUMNS | {SCORE: by_hour}, times=times).reference.frozen
    daily = DRAFT.model_copy(update={"seasonality": Seasonality.DAILY})
    seasonal = frozen_of(daily, COLUMNS | {SCORE: by_hour}, times=times).reference.frozen
    assert plain is not None
    assert seasonal is not None
    assert seasonal.dispersion[SCORE] < plain.dispersion[SCORE] / 5


# ---------------------------------------------------------------------------------------------- baselines


def test_there_is_a_baseline_for_each_signal_in_order() -> None:
    spec = frozen_of(DRAFT.model_copy(update={"tiers": TierSpec(minor=0.05)}), COLUMNS)
    found = baselines(spec, Layout(spec))
    assert [(each.name, each.ordered, each.opens) for each in found] == [
        (AGE, True, True),
        (PLAN, False, True),
        (SCORE, True, True),
    ]
    assert {each.thresholds for each in found} == {(0.05, 0.2, 0.25)}


def test_the_predictions_of_a_model_that_keeps_learning_open_nothing() -> None:
    spec = frozen_of(DRAFT.model_copy(update={"learning": "continuous"}), COLUMNS)
    assert [each.opens for each in baselines(spec, Layout(spec))] == [True, True, False]


def test_without_seasonality_there_is_only_the_whole() -> None:
    spec = frozen_of(DRAFT, COLUMNS)
    assert all(set(each.phases) == {WHOLE} for each in baselines(spec, Layout(spec)))


def test_the_phases_of_a_season_add_up_to_the_whole() -> None:
    daily = DRAFT.model_copy(update={"seasonality": Seasonality.DAILY})
    spec = frozen_of(daily, COLUMNS, times=MONDAY + np.arange(N) * 60.0)
    for each in baselines(spec, Layout(spec)):
        phases = [counts for phase, counts in each.phases.items() if phase != WHOLE]
        assert len(phases) == 24
        assert np.array_equal(np.sum(phases, axis=0), each.phases[WHOLE])


def test_without_a_reference_there_is_nothing_to_compare_with() -> None:
    spec = frozen_of(DRAFT, COLUMNS)
    with pytest.raises(ValueError, match="no reference yet"):
        baselines(DRAFT, Layout(spec))


def test_the_unseen_get_as_many_rows_as_there_were_values_seen_once() -> None:
    values = [f"c{i % 20}" for i in range(N - 10)] + [f"once{i}" for i in range(10)]
    *known, other, unseen, missing, invalid = counts_of(frozen_of(DRAFT, COLUMNS | {PLAN: values}), PLAN)
    assert sum(known) == N - 10
    assert (other, unseen, missing, invalid) == (0, 10, 0, 0)


def test_a_category_that_is_new_in_every_row_is_expected_to_stay_so() -> None:
    spec = frozen_of(DRAFT, COLUMNS | {PLAN: [f"id{i}" for i in range(N)]})
    binner = Layout(spec).binners[1]
    *_, other, unseen, missing, invalid = counts_of(spec, PLAN)
    assert binner.width == 4
    assert (other, unseen, missing, invalid) == (0, N, 0, 0)


def test_what_the_unseen_get_is_taken_from_the_rarest() -> None:
    counts = np.array([50, 20, 3, 4, 0, 7, 9])  # three categories, other, unseen, missing, invalid
    assert make_room_for_unseen(counts, 5).tolist() == [50, 20, 2, 0, 5, 7, 9]
    assert make_room_for_unseen(counts, 0).tolist() == counts.tolist()
    assert make_room_for_unseen(counts, 1_000).tolist() == [0, 0, 0, 0, 77, 7, 9]


def test_bins_come_from_the_reference_alone() -> None:
    spec = frozen_of(DRAFT, COLUMNS)
    Layout(spec).count(rows_of(spec, COLUMNS | {AGE: COLUMNS[AGE] + 1_000}))
    assert spec == frozen_of(DRAFT, COLUMNS)
    assert spec.reference.frozen is not None
    assert isinstance(spec.reference.frozen.bins[AGE], NumberBins)
