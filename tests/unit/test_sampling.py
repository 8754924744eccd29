"""Which rows are handed on in full depends on where they stand, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detector.layout import Layout
from detector.rows import INVALID, Rows
from detector.sampling import MOST_CELLS, RowSampler, columns_of_sample, row_hashes, salt_of
from detector.totals import RunningTotal
from schemas.model_spec import SurrogateSpec
from schemas.profiles import SampledRows
from tests.support.data import category, frozen_of, numbers, rows_of, spec_of

SPEC = spec_of(*numbers("x"), category("c"))


def rows(offsets: list[int] | np.ndarray) -> Rows:
    x = np.arange(len(offsets), dtype=float)
    return rows_of(SPEC, {"feature:x": x, "feature:c": [f"c{i % 3}" for i in range(len(offsets))]}, offsets=offsets)


def sampler(most: int = 16, topic: str = "predictions", partition: int = 0) -> RowSampler:
    return RowSampler(SPEC.signals, topic, partition, most)


def drawn(taken: SampledRows | None) -> list[tuple[int, float | str | None]]:
    return [] if taken is None else list(zip(taken.offsets, taken.columns["feature:x"], strict=True))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_the_draw_does_not_depend_on_how_the_rows_were_cut(sizes: list[int]) -> None:
    whole, pieces, start = sampler(), sampler(), 0
    everything = rows(np.arange(sum(sizes)))
    whole.add(everything)
    for size in sizes:
        pieces.add(everything.slice(start, start + size))
        start += size
    assert whole.take() == pieces.take()


def test_at_most_k_rows_are_drawn_and_fewer_where_there_are_fewer() -> None:
    few, many = sampler(16), sampler(16)
    few.add(rows(range(10)))
    many.add(rows(range(1_000)))
    assert len(drawn(few.take())) == 10
    assert len(drawn(many.take())) == 16


def test_the_draw_is_spread_evenly() -> None:
    places = []
    for partition in range(60):
        each = sampler(16, partition=partition)
        each.add(rows(range(1_000)))
        places += [offset / 1_000 for offset, _ in drawn(each.take())]
    assert stats.kstest(places, "uniform").pvalue > 0.01


def test_another_partition_draws_other_rows() -> None:
    one, other = sampler(partition=0), sampler(partition=1)
    for each in (one, other):
        each.add(rows(range(1_000)))
    assert drawn(one.take()) != drawn(other.take())


def test_rows_of_one_record_are_drawn_one_by_one() -> None:
    hashes = row_hashes(salt_of("t", 0), np.array([5, 5, 5, 6]))
    assert len(set(hashes.tolist())) == 4


def test_what_was_taken_is_not_handed_on_twice() -> None:
    each = sampler()
    each.add(rows(range(100)))
    assert each.take() is not None
    assert each.take() is None


def test_wide_models_hand_on_fewer_rows() -> None:
    wide = RowSampler(tuple(f"feature:{i}" for i in range(4_096)), "t", 0, 64)
    assert wide.most_rows == MOST_CELLS // 4_096


def test_missing_and_invalid_values_come_back_as_what_they_are() -> None:
    each = sampler()
    columns = {"feature:x": [1.5, np.nan, np.inf], "feature:c": ["a", None, INVALID]}
    each.add(rows_of(SPEC, columns))
    taken = each.take()
    assert taken is not None
    x, c = columns_of_sample(SampledRows.model_validate_json(taken.model_dump_json()), SPEC.signals, [True, False])
    np.testing.assert_array_equal(x, [1.5, np.nan, np.inf])
    assert c == ["a", None, INVALID]


def test_a_sample_whose_columns_are_not_of_one_length_is_refused() -> None:
    broken = SampledRows(offsets=(1, 2), times=(None, None), stages=("production",) * 2, columns={"feature:x": (1.0,)})
    with pytest.raises(ValueError, match="one length"):
        columns_of_sample(broken, SPEC.signals, [True, False])


def test_a_total_carries_a_sample_only_where_the_spec_has_surrogates() -> None:
    values = {"feature:x": np.arange(200.0), "feature:y": np.arange(200.0)}
    for surrogates in (None, SurrogateSpec()):
        spec = frozen_of(spec_of(*numbers("x", "y"), surrogates=surrogates), values)
        total = RunningTotal(Layout(spec), "predictions", 0)
        total.add(rows_of(spec, values), 200)
        assert (total.to_event().sample is None) == (surrogates is None)
        assert total.to_event().sample is None


def test_who_only_looks_at_a_total_takes_no_rows_away() -> None:
    values = {"feature:x": np.arange(200.0), "feature:y": np.arange(200.0)}
    spec = frozen_of(spec_of(*numbers("x", "y"), surrogates=SurrogateSpec()), values)
    total = RunningTotal(Layout(spec), "predictions", 0)
    total.add(rows_of(spec, values), 200)
    seen = total.to_event(hand_over=False)
    published = total.to_event()
    assert seen.sample is None
    assert published.sample is not None
    assert seen.parts == published.parts
