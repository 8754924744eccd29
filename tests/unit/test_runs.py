"""Runs: what an agent gets in place of single records."""

from __future__ import annotations

from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from agents.runs import Run, cut


def records(offsets: list[int]) -> list[ConsumerRecord[bytes, bytes]]:
    return [ConsumerRecord("t", 0, offset, 0, 0, None, b"", 0, -1, 0, ()) for offset in offsets]


rising = st.lists(st.integers(0, 10_000), min_size=1, max_size=200, unique=True).map(sorted)


@given(rising, st.integers(1, 50))
def test_cutting_keeps_every_record_and_the_order_and_no_run_is_longer_than_asked(
    offsets: list[int], most: int
) -> None:
    runs = list(cut("t", 0, records(offsets), most))
    assert [record.offset for run in runs for record in run.records] == offsets
    assert all(1 <= len(run) <= most for run in runs)


@given(rising, st.integers(-1, 10_001))
def test_what_is_left_from_an_offset_on_are_the_records_at_it_and_after_it(offsets: list[int], start: int) -> None:
    left = Run("t", 0, records(offsets)).since(start)
    assert [record.offset for record in (left.records if left else [])] == [o for o in offsets if o >= start]


def test_the_offset_to_commit_is_one_after_the_last_even_across_gaps() -> None:
    run = Run("t", 0, records([3, 4, 9]))
    assert (run.first_offset, run.last_offset, run.next_offset, len(run)) == (3, 9, 10, 3)
