"""Chunking does not matter: however rows are cut, spread and merged, and wherever a total is resumed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.bins import CategoryBinner, NumberBinner, fit_category_bins, fit_number_bins
from detector.layout import Layout
from detector.profile import Profile, ProfileError, decode_part, encode_part
from detector.rows import INVALID, Rows
from detector.totals import RunningTotal
from schemas.codec import decode, encode
from schemas.model_spec import FeatureSpec, FeatureType, Output, PredictionSpec, Seasonality, Stage
from schemas.profiles import ProfileTotal
from tests.support.data import MONDAY, category, frozen_of, numbers, rows_of, spec_of

RNG = np.random.default_rng(8)
N = 1_000
DRAFT = spec_of(
    *numbers("price", "refunds"),
    FeatureSpec(name="age", type=FeatureType.NUMBER, bounds=(0.0, 120.0)),
    category("plan"),
    FeatureSpec(name="member", type=FeatureType.BOOLEAN),
    prediction=PredictionSpec(output=Output.SCORE),
    seasonality=Seasonality.DAILY,
    timezone="Europe/Berlin",
)
SPEC = frozen_of(
    DRAFT,
    dict(
        zip(
            DRAFT.signals,
            (
                RNG.lognormal(size=N),
                np.where(RNG.random(N) < 0.9, 0.0, RNG.exponential(size=N)),
                RNG.normal(40, 12, N),
                RNG.choice(["free", "pro", "team", "rare"], N, p=[0.5, 0.3, 0.199, 0.001]).tolist(),
                RNG.choice(["true", "false"], N).tolist(),
                RNG.random(N),
            ),
            strict=True,
        )
    ),
    times=MONDAY + np.arange(N) * 300.0,
)
LAYOUT = Layout(SPEC)

ANY_NUMBER = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -0.0, 40.0, 5e-324, 1.7e308])
TEXTS = st.sampled_from(["free", "pro", "team", "rare", "new", "", None, INVALID])
TRUTHS = st.sampled_from(["true", "false", None, INVALID])
ROW = st.tuples(
    ANY_NUMBER,
    ANY_NUMBER,
    ANY_NUMBER,
    TEXTS,
    TRUTHS,
    ANY_NUMBER,
    st.floats(MONDAY, MONDAY + 200 * 86_400),
    st.sampled_from(list(Stage)),
    st.integers(0, 2),
)


@st.composite
def any_rows(draw: st.DrawFn, min_size: int = 1) -> Rows:
    """Rows of three stages over half a year of hours, several to a record, with gaps between offsets."""
    drawn = draw(st.lists(ROW, min_size=min_size, max_size=40))
    *columns, times, stages, steps = (list(column) for column in zip(*drawn, strict=True))
    offsets = np.cumsum(steps).tolist()
    return rows_of(SPEC, dict(zip(SPEC.signals, columns, strict=True)), offsets=offsets, times=times, stages=stages)


CUTS = st.lists(st.integers(0, 40), max_size=6).map(sorted)


def pieces(rows: Rows, cuts: list[int]) -> list[Rows]:
    bounds = [0, *(min(cut, len(rows)) for cut in cuts), len(rows)]
    return [rows.slice(start, stop) for start, stop in pairwise(bounds)]


def merged(profiles: list[Profile]) -> Profile:
    total = Profile()
    for profile in profiles:
        total.add(profile)
    return total


@given(any_rows())
def test_row_by_row_is_the_same_as_all_at_once(rows: Rows) -> None:
    alone = [LAYOUT.count(rows.slice(i, i + 1)) for i in range(len(rows))]
    assert merged(alone) == LAYOUT.count(rows)


@given(any_rows(), CUTS)
def test_batches_of_any_size_are_the_same_as_all_at_once(rows: Rows, cuts: list[int]) -> None:
    assert merged([LAYOUT.count(piece) for piece in pieces(rows, cuts)]) == LAYOUT.count(rows)


@given(any_rows(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_rows_spread_over_any_number_of_partitions_merge_to_the_same(rows: Rows, partitions: int, random: Any) -> None:
    spread: list[list[Rows]] = [[] for _ in range(partitions)]
    for i in range(len(rows)):
        spread[random.randrange(partitions)].append(rows.slice(i, i + 1))
    counted = [LAYOUT.count(Rows.concat(part)) for part in spread if part]
    random.shuffle(counted)
    assert merged(counted) == LAYOUT.count(rows)


@given(any_rows(), any_rows())
def test_what_was_added_can_be_subtracted(one: Rows, other: Rows) -> None:
    first, second = LAYOUT.count(one), LAYOUT.count(other)
    both = first.copy()
    both.add(second)
    assert both.subtract(second) == first
    assert both.subtract(first) == second
    assert both.subtract(both).parts == {}


@given(any_rows())
def test_every_row_counts_once_in_every_signal(rows: Rows) -> None:
    profile = LAYOUT.count(rows)
    assert profile.rows == len(rows)
    for vector in profile.parts.values():
        assert {int(counts.sum()) for counts in LAYOUT.signal_counts(vector)} == {LAYOUT.row_count(vector)}


@given(any_rows())
def test_a_profile_survives_its_encoding(rows: Rows) -> None:
    profile = LAYOUT.count(rows)
    assert Profile.decode(profile.encode(), LAYOUT.width) == profile
    assert Profile.decode_parts(profile.encode_parts(), LAYOUT.width) == profile


@given(any_rows(), any_rows())
def test_a_total_read_with_an_earlier_one_at_hand_is_the_same(one: Rows, other: Rows) -> None:
    total = LAYOUT.count(one)
    earlier = Profile.decode_parts(total.encode_parts(), LAYOUT.width)
    total.add(LAYOUT.count(other))
    later = Profile.decode_parts(total.encode_parts(), LAYOUT.width, like=earlier)
    assert later == total
    assert later.subtract(earlier) == LAYOUT.count(other)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50))
def test_a_vector_survives_its_encoding(entries: list[int]) -> None:
    vector = np.array(entries, dtype=np.int64)
    assert np.array_equal(decode_part(encode_part(vector), len(entries)), vector)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.hex()), st.integers(1, 100))
def test_decoding_anything_at_all_either_works_or_is_refused(text: str, width: int) -> None:
    for read in (decode_part, Profile.decode):
        try:
            read(text, width)
        except ProfileError:
            continue


@given(any_rows(), CUTS, st.integers(0, 90))
def test_a_total_resumed_at_any_offset_is_the_same_total(rows: Rows, cuts: list[int], saved_at: int) -> None:
    """Saved at one offset, read back, and given everything from the beginning again in other pieces."""
    end = int(rows.offsets[-1]) + 1
    at_once = RunningTotal(LAYOUT, "predictions", 0)
    at_once.add(rows, end, appended_at=MONDAY)

    saved_at = min(saved_at, end)
    stopped = RunningTotal(LAYOUT, "predictions", 0)
    stopped.add(rows.slice(0, int(np.searchsorted(rows.offsets, saved_at))), saved_at)
    resumed = RunningTotal.from_event(decode(ProfileTotal, encode(stopped.to_event())), LAYOUT)
    for piece in pieces(rows, sorted({int(np.searchsorted(rows.offsets, cut)) for cut in cuts})):
        if len(piece):
            resumed.add(piece, int(piece.offsets[-1]) + 1, appended_at=MONDAY)
    assert resumed.to_event().model_copy(update={"appended_at": None}) == at_once.to_event().model_copy(
        update={"appended_at": None}
    )


# ----------------------------------------------------------------------------------------------------- bins


@given(st.lists(ANY_NUMBER, max_size=200), st.lists(ANY_NUMBER, max_size=20))
@settings(max_examples=200)
def test_every_number_falls_into_the_bin_whose_edges_hold_it(reference: list[float], values: list[float]) -> None:
    bins = fit_number_bins(np.array(reference))
    binner = NumberBinner(bins)
    edges = np.array(bins.edges)
    assert (np.diff(edges) > 0).all()
    assert bins.scale > 0
    given_values = np.array([*reference, *values], dtype=np.float64)
    for value, place in zip(given_values, binner.index(given_values), strict=True):
        if np.isnan(value):
            assert place == binner.width - 2
        elif np.isinf(value):
            assert place == binner.width - 1
        elif value < edges[0]:
            assert place == 0
        elif value > edges[-1]:
            assert place == binner.width - 3
        else:
            upper = edges[place] if place < len(edges) - 1 else np.nextafter(edges[-1], np.inf)
            assert edges[place - 1] <= value < upper


@given(st.lists(st.floats(-1e6, 1e6) | st.integers(-20, 20).map(float), min_size=1, max_size=300))
def test_no_bin_of_a_reference_is_empty(reference: list[float]) -> None:
    values = np.array(reference)
    binner = NumberBinner(fit_number_bins(values))
    below, *inner, above, missing, invalid = np.bincount(binner.index(values), minlength=binner.width).tolist()
    assert all(inner)
    assert below == above == missing == invalid == 0


@given(st.lists(TEXTS | st.text(max_size=3), max_size=100), st.lists(st.text(max_size=3), max_size=10))
def test_every_category_of_the_reference_is_known_and_every_other_unseen(
    reference: list[str | None], others: list[str]
) -> None:
    binner = CategoryBinner(fit_category_bins(reference))
    known = [value for value in reference if value not in (None, INVALID)]
    assert all(place <= binner.unseen - 1 for place in binner.index(known))
    assert set(binner.index([value for value in others if value not in known]).tolist()) <= {binner.unseen}
