"""Bins of numbers and categories: where they are cut, and which value falls where."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.bins import (
    FEW_VALUES,
    LARGEST,
    MAX_CATEGORIES,
    MAX_KNOWN,
    MAX_TEXT,
    CategoryBinner,
    NumberBinner,
    boolean_bins,
    fit_category_bins,
    fit_number_bins,
    make_binner,
)
from detector.rows import FALSE, INVALID, TRUE
from schemas.model_spec import CategoryBins, NumberBins

NORMAL = np.random.default_rng(1).normal(size=5_000)
NAN, INF = np.nan, np.inf


def counts(bins: NumberBins, values: NDArray[np.float64]) -> list[int]:
    binner = NumberBinner(bins)
    return np.bincount(binner.index(values), minlength=binner.width).tolist()


def label(bins: NumberBins, value: float) -> str:
    binner = NumberBinner(bins)
    return binner.labels()[int(binner.index(np.array([value]))[0])]


# ------------------------------------------------------------------------------------------------- numbers


def test_a_continuous_number_has_ten_bins_of_equal_share() -> None:
    below, *inner, above, missing, invalid = counts(fit_number_bins(NORMAL), NORMAL)
    assert inner == [500] * 10
    assert (below, above, missing, invalid) == (0, 0, 0, 0)


def test_the_edges_reach_from_the_smallest_to_the_largest_value_of_the_reference() -> None:
    bins = fit_number_bins(NORMAL)
    assert (bins.edges[0], bins.edges[-1]) == (NORMAL.min(), NORMAL.max())


def test_inner_edges_have_no_more_digits_than_they_need() -> None:
    thirds = np.arange(900) / 3 + 0.123456789
    assert fit_number_bins(thirds).edges[1:-1] == (30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 210.0, 240.0, 270.0)


def test_a_bin_holds_its_lower_edge_and_the_last_one_its_upper_edge_too() -> None:
    bins = NumberBins(edges=(0.0, 1.0, 2.0), means=(0.5, 1.5), center=1.0, scale=1.0)
    values = np.array([-0.1, 0.0, 0.9, 1.0, 2.0, 2.1])
    assert NumberBinner(bins).index(values).tolist() == [0, 1, 1, 2, 2, 3]


def test_missing_and_invalid_values_have_bins_of_their_own_and_move_no_edge() -> None:
    dirty = np.concatenate([NORMAL, [NAN] * 100, [INF, -INF] * 50])
    assert fit_number_bins(dirty) == fit_number_bins(NORMAL)
    assert counts(fit_number_bins(dirty), dirty)[-2:] == [100, 100]


def test_a_constant_has_one_bin_and_every_other_value_is_out_of_range() -> None:
    bins = fit_number_bins(np.full(1_000, 7.5))
    assert len(bins.means) == 1
    assert [label(bins, value) for value in (7.499, 7.5, 7.501)] == ["< 7.5", "7.5", "> 7.5"]
    assert (bins.center, bins.scale, bins.means) == (7.5, 1.0, (7.5,))


def test_a_near_constant_keeps_its_atom_in_a_bin_of_its_own() -> None:
    values = np.concatenate([np.zeros(9_000), np.random.default_rng(2).exponential(size=1_000)])
    bins = fit_number_bins(values)
    assert label(bins, 0.0) == "0"
    assert label(bins, 1e-9) != "0"
    assert counts(bins, values)[1] == 9_000


def test_an_atom_amid_other_values_has_a_bin_of_its_own() -> None:
    values = np.concatenate([NORMAL, np.full(2_000, 0.25)])
    bins = fit_number_bins(values)
    assert label(bins, 0.25) == "0.25"
    assert {label(bins, 0.24999), label(bins, 0.25001)}.isdisjoint({"0.25"})
    assert counts(bins, values)[NumberBinner(bins).index(np.array([0.25]))[0]] == 2_000


def test_few_distinct_values_have_a_bin_each() -> None:
    months = np.repeat(np.arange(1.0, 13.0), 50)
    assert counts(fit_number_bins(months), months) == [0, *[50] * 12, 0, 0, 0]


def test_so_many_distinct_values_are_few() -> None:
    assert len(fit_number_bins(np.repeat(np.arange(float(FEW_VALUES)), 100)).means) == FEW_VALUES
    assert len(fit_number_bins(np.repeat(np.arange(FEW_VALUES + 1.0), 100)).means) <= 10


def test_a_small_reference_has_fewer_bins() -> None:
    assert len(fit_number_bins(NORMAL[:100]).means) == 5


def test_a_column_without_a_value_has_one_bin_that_nobody_was_in() -> None:
    for nothing in (np.array([]), np.full(50, NAN)):
        bins = fit_number_bins(nothing)
        below, inner, above, missing, invalid = counts(bins, nothing)
        assert (below, inner, above, invalid) == (0, 0, 0, 0)
        assert missing == len(nothing)


def test_means_are_those_of_the_reference_rows_in_each_bin() -> None:
    bins = fit_number_bins(NORMAL)
    place = NumberBinner(bins).index(NORMAL)
    assert bins.means == pytest.approx([NORMAL[place == i + 1].mean() for i in range(10)])


def test_center_and_scale_are_median_and_standard_deviation() -> None:
    bins = fit_number_bins(NORMAL)
    assert bins.center == pytest.approx(np.median(NORMAL), abs=1e-3)
    assert bins.scale == pytest.approx(NORMAL.std())


def test_the_largest_numbers_there_are_leave_center_and_scale_finite() -> None:
    largest = np.finfo(np.float64).max
    bins = fit_number_bins(np.array([-largest, -1e299, 0.0, 1e299, largest] * 10))
    assert np.isfinite([*bins.edges, *bins.means, bins.center, bins.scale]).all()
    assert abs(bins.edges[-1]) <= LARGEST
    assert label(bins, largest).startswith(">")


def test_the_smallest_numbers_there_are_keep_their_bins_apart() -> None:
    tiny = np.finfo(np.float64).smallest_subnormal
    values = np.repeat([-tiny, 0.0, tiny], 40)
    assert counts(fit_number_bins(values), values)[1:4] == [40, 40, 40]


def test_the_reference_order_does_not_matter() -> None:
    assert fit_number_bins(NORMAL[::-1]) == fit_number_bins(NORMAL)


def test_edges_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(ValueError, match="ascending"):
        make_binner(NumberBins(edges=(0.0, 2.0, 1.0), means=(1.0, 1.5), center=1.0, scale=1.0))


def test_labels_tell_close_edges_apart() -> None:
    bins = NumberBins(edges=(20_240_101.0, 20_240_102.0, 20_240_103.0), means=(0.0, 0.0), center=0.0, scale=1.0)
    assert NumberBinner(bins).labels()[1:3] == ("[20240101, 20240102)", "[20240102, 20240103]")


def test_every_bin_has_a_label() -> None:
    for values in (NORMAL, np.zeros(10), np.concatenate([np.zeros(900), NORMAL[:100]])):
        binner = NumberBinner(fit_number_bins(values))
        assert len(set(binner.labels())) == binner.width


# ---------------------------------------------------------------------------------------------- categories


def test_categories_stand_by_frequency_then_other_unseen_missing_invalid() -> None:
    binner = CategoryBinner(fit_category_bins(["b"] * 5 + ["a"] * 5 + ["c"] * 9 + [None, INVALID]))
    assert binner.labels() == ("c", "a", "b", "other", "unseen", "missing", "invalid")
    assert binner.index(["a", "c", "z", None, INVALID]).tolist() == [1, 0, 4, 5, 6]


def test_rare_categories_of_many_share_one_bin() -> None:
    bins = fit_category_bins([f"c{i % 16}" for i in range(1_600)] + [f"rare{i}" for i in range(4)])
    assert len(bins.categories) == 16
    assert bins.other == ("rare0", "rare1", "rare2", "rare3")
    assert CategoryBinner(bins).index(["rare2"]).tolist() == [16]


def test_rare_categories_of_few_have_bins_of_their_own() -> None:
    assert fit_category_bins(["yes"] * 1_000 + ["no"]).categories == ("yes", "no")


def test_at_most_fifty_categories_have_bins_of_their_own() -> None:
    bins = fit_category_bins([f"c{i % 60:02}" for i in range(60 * 40)])
    assert (len(bins.categories), len(bins.other)) == (MAX_CATEGORIES, 10)


def test_values_seen_once_are_counted() -> None:
    assert fit_category_bins(["a", "a", "b", "c", None, None]).singletons == 2


def test_what_is_remembered_of_an_id_is_bounded() -> None:
    bins = fit_category_bins([f"id-{i}" for i in range(3 * MAX_KNOWN)] + ["x" * (MAX_TEXT + 1)] * 50)
    assert len(bins.categories) + len(bins.other) == bins.singletons == MAX_KNOWN
    assert "x" * (MAX_TEXT + 1) not in bins.categories


def test_a_category_without_a_value_has_no_category() -> None:
    bins = fit_category_bins([None, INVALID])
    assert bins == CategoryBins(categories=())
    assert CategoryBinner(bins).labels() == ("other", "unseen", "missing", "invalid")


def test_both_truth_values_have_a_bin_even_if_the_reference_has_one() -> None:
    assert CategoryBinner(boolean_bins()).index([TRUE, FALSE, None, INVALID]).tolist() == [1, 0, 4, 5]
