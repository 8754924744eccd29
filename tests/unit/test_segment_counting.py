"""Rows counted by segment: which segments there are, and that each row counts once in each of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.layout import Layout
from detector.profile import Profile, ProfileError
from detector.rows import INVALID, Rows, Source
from detector.segments.values import segment_columns
from detector.totals import RunningTotal
from schemas.model_spec import ModelSpec, Stage
from schemas.segments import SegmentSpec
from tests.support.data import category, frozen_of, numbers, rows_of, spec_of

PLAIN = spec_of(*numbers("x"), category("plan"), segments=SegmentSpec(fields=("country", "plan"), top=2))
COUNTRY = ["DE"] * 50 + ["FR"] * 30 + ["IT"] * 10 + ["ES"] * 10
REFERENCE = {
    "feature:x": np.arange(100.0),
    "feature:plan": ["free", "pro"] * 50,
    "segment:country": COUNTRY,
    "segment:plan": ["free", "pro"] * 50,
}
SPEC = frozen_of(PLAIN, REFERENCE)
LAYOUT = Layout(SPEC)
NAMES = ("country=DE", "country=FR", "country=other", "plan=free", "plan=pro")


def rows(country: list[str | None], plan: list[str | None] | None = None, spec: ModelSpec = SPEC) -> Rows:
    columns = {"feature:x": [float(i) for i in range(len(country))], "segment:country": country}
    return rows_of(spec, columns | ({} if plan is None else {"segment:plan": plan}))


def counted(profile: Profile) -> dict[str, int]:
    """Rows by segment."""
    return {NAMES[number]: LAYOUT.row_count(vector) for (_, number), vector in profile.segments.items()}


def test_the_most_frequent_values_of_the_reference_are_segments_and_the_rest_is_other() -> None:
    assert LAYOUT.segments is not None
    assert LAYOUT.segments.names == NAMES


def test_a_row_counts_in_one_segment_of_each_field() -> None:
    profile = LAYOUT.count(rows(["DE", "DE", "ES"], ["pro", "free", "pro"]))
    assert counted(profile) == {"country=DE": 2, "country=other": 1, "plan=free": 1, "plan=pro": 2}


def test_what_the_reference_never_had_is_other_too() -> None:
    assert counted(LAYOUT.count(rows(["XX", "IT"]))) == {"country=other": 2}


def test_where_the_reference_had_no_others_what_it_never_had_is_in_no_segment() -> None:
    assert counted(LAYOUT.count(rows(["DE"], ["gold"]))) == {"country=DE": 1}


def test_rows_whose_field_is_missing_or_invalid_are_in_none_of_its_segments() -> None:
    profile = LAYOUT.count(rows([None, INVALID, "DE"]))
    assert counted(profile) == {"country=DE": 1}
    assert LAYOUT.row_count(profile.parts[Stage.PRODUCTION, 0]) == 3


def test_the_vector_of_a_segment_is_that_of_its_rows_alone() -> None:
    both = LAYOUT.count(rows(["DE", "FR", "DE", "FR"], ["free"] * 4))
    alone = LAYOUT.count(rows_of(SPEC, {"feature:x": [0.0, 2.0], "segment:country": ["DE", "DE"]}))
    judged = max(LAYOUT.slices[signal].stop for signal in LAYOUT.segments.signals)  # type: ignore[union-attr]
    whole = alone.parts[Stage.PRODUCTION, 0][:judged]
    assert np.array_equal(both.segments[Stage.PRODUCTION, 0], whole)


def test_stages_are_kept_apart() -> None:
    made = rows_of(
        SPEC,
        {"feature:x": [1.0, 2.0], "segment:country": ["DE", "DE"]},
        stages=[Stage.PRODUCTION, Stage.SHADOW],
    )
    assert {key: LAYOUT.row_count(vector) for key, vector in LAYOUT.count(made).segments.items()} == {
        (Stage.PRODUCTION, 0): 1,
        (Stage.SHADOW, 0): 1,
    }


def test_a_label_counts_in_the_segment_of_its_row_though_another_stream_carries_it() -> None:
    spec = spec_of(*numbers("x"), prediction={"output": "class"}, outcomes={}, segments={"fields": ["country"]})
    columns = {"feature:x": np.arange(100.0), "segment:country": COUNTRY, "prediction": ["a", "b"] * 50}
    frozen = frozen_of(spec, columns)
    layout = Layout(frozen)
    labels = rows_of(frozen, {"label": ["a", "a"], "performance:error": ["true", "false"]}, source=Source.OUTCOMES)
    context = (*[None] * (len(frozen.signals) - 1), ["FR", "DE"])
    known = Rows(labels.source, labels.offsets, labels.times, labels.stages, labels.columns, context)
    profile = layout.count(known)
    assert {number: layout.label_rows(vector) for (_, number), vector in profile.segments.items()} == {0: 1, 1: 1}
    assert not layout.count(labels).segments


@settings(max_examples=40, deadline=None)
@given(
    country=st.lists(st.sampled_from(["DE", "FR", "ES", "XX", None]), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_a_total_of_segments_is_the_same_however_its_rows_were_cut(country: list[str | None], cuts: list[int]) -> None:
    whole = rows(country, ["free", "pro"] * 30)  # more plans than rows: only as many are used
    whole = Rows(
        whole.source, whole.offsets, whole.times, whole.stages,
        tuple(None if column is None else column[: len(country)] for column in whole.columns),
    )  # fmt: skip
    together, pieces = RunningTotal(LAYOUT, "t", 0), RunningTotal(LAYOUT, "t", 0)
    together.add(whole, len(country))
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(country)], strict=True):
        end = min(stop, len(country))
        pieces.add(whole.slice(min(start, end), end), end)
        pieces = RunningTotal.from_event(pieces.to_event(), LAYOUT)  # a restart
    assert pieces.profile == together.profile
    assert together.profile.segments


def test_only_some_segments_can_be_counted_and_keep_their_numbers() -> None:
    some = Layout(SPEC, counted={1, 3}).count(rows(["DE", "FR", "FR"], ["free", "pro", "free"]))
    assert counted(some) == {"country=FR": 2, "plan=free": 2}


def test_a_profile_with_segments_reads_back_as_it_was() -> None:
    profile = LAYOUT.count(rows(["DE", "ES"], ["free", "pro"]))
    text = profile.encode()
    assert Profile.decode(text, LAYOUT.width, LAYOUT.segment_width) == profile
    parts = Profile.decode_parts(profile.encode_parts(), LAYOUT.width, segment_width=LAYOUT.segment_width)
    assert parts.segments.keys() == profile.segments.keys()
    assert parts == profile


def test_a_profile_with_segments_is_refused_where_none_are_expected() -> None:
    text = LAYOUT.count(rows(["DE"])).encode()
    with pytest.raises(ProfileError, match="0 was expected"):
        Profile.decode(text, LAYOUT.width)


def test_subtracting_leaves_the_rows_between() -> None:
    earlier, later = RunningTotal(LAYOUT, "t", 0), RunningTotal(LAYOUT, "t", 0)
    earlier.add(rows(["DE", "FR"]), 2)
    later.add(rows(["DE", "FR", "DE"]), 3)
    assert counted(later.profile.subtract(earlier.profile)) == {"country=DE": 1}


def test_a_pair_of_fields_has_segments_of_its_own() -> None:
    spec = spec_of(*numbers("x"), segments={"fields": ["a", "b"], "pairs": [["a", "b"]], "top": 2})
    columns = segment_columns(spec, (), {"a": ["1", "1", None], "b": ["x", INVALID, "y"]})
    assert columns == [["1", "1", None], ["x", INVALID, "y"], ["1 + x", INVALID, None]]
    assert spec.signals[-1] == "segment:a+b"


def test_a_breakdown_that_is_too_large_to_be_judged_says_what_would_help() -> None:
    wide = spec_of(*numbers(*(f"x{i}" for i in range(60))), segments={"fields": ["country"], "top": 50})
    columns = {f"feature:x{i}": np.arange(5_000.0) for i in range(60)}
    columns |= {"segment:country": [f"c{i % 50}" for i in range(5_000)]}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"lower segments\.top"):
        frozen_of(wide, columns)
