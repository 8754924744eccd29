"""Taking up a partition: what was saved, what the broker says of the log, and what follows."""

from __future__ import annotations

import pytest
from faust.types import TP

from agents.baseline import Collecting
from agents.counting import Counting
from agents.partition_totals import PartitionLedger
from agents.recovery import Log, restore, source_of
from agents.registry import Registration
from agents.statelog import Entry, Saved, StateKey
from detector.layout import Layout
from detector.rows import Source
from detector.totals import RunningTotal
from schemas.codec import Event
from schemas.model_spec import ModelSpec, OffsetRange
from schemas.profiles import BaselineRows, ProfileTotal, UnregisteredRows
from tests.support.data import rows_of
from tests.support.profiling import draft, registered

TOPIC_PARTITION = TP("driftline.predictions", 3)
SPEC = registered()
X, PLAN = SPEC.signals
COUNTED = Registration(SPEC, Layout(SPEC), 0, SPEC.hash)
COLLECTED = Registration(draft(), None, 0, draft().hash)
FROZEN = Registration(SPEC, COUNTED.layout, 1, draft().hash)
"""As if the reference of ``COLLECTED`` had been frozen."""
NAME = ("m", "1")
WHOLE = Log(0, 1_000, 500)


def rows(spec: ModelSpec, start: int, stop: int):  # type: ignore[no-untyped-def]
    count = stop - start
    return rows_of(spec, {X: [1.0] * count, PLAN: ["free"] * count}, offsets=list(range(start, stop)))


def total(next_offset: int, *, generation: int = 4, incarnation: int = 0, spec: ModelSpec = SPEC) -> Saved:
    """A saved total that has counted every record below an offset."""
    running = RunningTotal(Layout(spec), *TOPIC_PARTITION, incarnation=incarnation)
    running.add(rows(spec, 0, next_offset), next_offset)
    return saved(running.to_event(generation), str(incarnation), generation)


def chunk(start: int, stop: int, generation: int = 4) -> Saved:
    collecting = Collecting(draft(), draft().hash, *TOPIC_PARTITION)
    collecting.add(rows(draft(), start, stop), stop)
    (event,) = collecting.take()
    return saved(event, f"baseline/{start}", generation)


def saved(event: Event, kind: str, generation: int) -> Saved:
    entry = Entry.of_event(event, f"m/1/{TOPIC_PARTITION.topic}/3/{kind}", generation, 0)
    return Saved(entry.key, 0, entry.value or b"")


def taken_up(*records: Saved, registration: Registration | None = COUNTED, log: Log = WHOLE) -> PartitionLedger:
    ledger = PartitionLedger(TOPIC_PARTITION, Source.PREDICTIONS, 9)
    restore(ledger, records, lambda model, version: registration if (model, version) == NAME else None, log)
    return ledger


def counting_in(ledger: PartitionLedger) -> Counting:
    counting = ledger.versions[NAME]
    assert isinstance(counting, Counting)
    return counting


@pytest.mark.parametrize(
    ("log", "position"),
    [
        (Log(0, 10, 7), 7),
        (Log(0, 10, None), 0),
        (Log(4, 10, None), 4),
        (Log(4, 10, 3), 4),  # retention was quicker
        (Log(0, 10, 11), 0),  # the topic was made anew
    ],
)
def test_fetching_goes_on_at_the_committed_offset_if_it_is_in_the_log(log: Log, position: int) -> None:
    assert taken_up(log=log).position == position


def test_a_total_is_continued_from_its_own_n() -> None:
    ledger = taken_up(total(700))
    assert (ledger.position, counting_in(ledger).total.next_offset, counting_in(ledger).total.rows) == (500, 700, 700)


def test_of_several_generations_the_furthest_is_continued_and_the_others_are_removed() -> None:
    records = [total(600, generation=3), total(700, generation=1), total(650, generation=2)]
    ledger = taken_up(*records)
    assert counting_in(ledger).total.next_offset == 700
    assert ledger.saved[NAME][0].generation == 1
    assert {key.generation for key, _ in ledger.stale} == {2, 3}


def test_a_later_incarnation_goes_before_a_longer_total() -> None:
    ledger = taken_up(total(700), total(20, incarnation=1), log=Log(0, 100, 20))
    assert counting_in(ledger).total.incarnation == 1


def test_a_total_beyond_the_end_of_the_log_is_followed_by_the_next_incarnation_from_the_beginning() -> None:
    ledger = taken_up(total(700), log=Log(0, 30, None))
    assert NAME not in ledger.versions
    assert ledger.begin(COUNTED) == 0
    opened = ledger.open(COUNTED, ledger.begin(COUNTED))
    assert (opened.total.incarnation, opened.total.started_at) == (1, 0)


def test_a_total_of_another_spec_is_followed_by_the_next_incarnation_from_here() -> None:
    ledger = taken_up(total(700, spec=registered().model_copy(update={"owner": "before"})))
    assert NAME not in ledger.versions
    opened = ledger.open(COUNTED, ledger.begin(COUNTED, first_row=612))
    assert (opened.total.incarnation, opened.total.started_at) == (1, 612)


def test_offsets_that_retention_removed_are_named_in_the_totals() -> None:
    ledger = taken_up(total(520), log=Log(600, 1_000, 500))
    assert counting_in(ledger).total.uncounted == (
        OffsetRange(topic=TOPIC_PARTITION.topic, partition=3, from_offset=520, to_offset=600),
    )
    assert counting_in(ledger).changed
    lost = Log(600, 1_000, 500).lost(TOPIC_PARTITION)
    assert lost is not None
    assert (lost.from_offset, lost.to_offset) == (500, 600)


def test_nothing_is_lost_while_the_committed_offset_is_in_the_log() -> None:
    assert WHOLE.lost(TOPIC_PARTITION) is None
    assert not counting_in(taken_up(total(700))).changed


def test_forwarding_goes_on_behind_what_was_forwarded() -> None:
    ledger = taken_up(chunk(120, 150), chunk(100, 120, generation=3), registration=COLLECTED)
    collecting = ledger.versions[NAME]
    assert isinstance(collecting, Collecting)
    assert (collecting.first_offset, collecting.next_offset, collecting.rows) == (100, 150, 50)
    assert len(ledger.chunks[NAME]) == 2


def test_forwarded_rows_whose_reference_was_frozen_meanwhile_begin_a_total_where_they_begin() -> None:
    ledger = taken_up(chunk(100, 150), registration=FROZEN)  # they came too late for the baseline
    assert ledger.begin(FROZEN) == 100


def test_forwarded_rows_are_removed_once_there_is_a_total() -> None:
    ledger = taken_up(total(700), chunk(100, 150))
    assert [key.base.split("/")[-2] for key, _ in ledger.stale] == ["baseline"]


def test_a_count_of_strangers_begins_anew() -> None:
    strangers = UnregisteredRows(model="m", version="1", topic="t", partition=3, rows=8, next_offset=9)
    ledger = taken_up(saved(strangers, "unregistered", 4), registration=None)
    assert (len(ledger.strangers), len(ledger.stale)) == (0, 1)


# ------------------------------------------------------------------------------------------------------- damage


def broken(kind: str = "0", generation: int = 8, value: bytes = b"") -> Saved:
    """What is read back under a key whose newest value is damaged."""
    key = StateKey(f"m/1/{TOPIC_PARTITION.topic}/3/{kind}", generation)
    return Saved(key, 0, value, damage="its checksum is wrong")


@pytest.mark.parametrize("damaged", [broken(), Saved(broken().key, 0, b"{")], ids=["sealed", "of format 1"])
def test_beside_a_damaged_total_the_furthest_sound_one_is_brought_up_to_the_position(damaged: Saved) -> None:
    ledger = taken_up(damaged, total(300), total(400, generation=2))
    counting, begin = ledger.behind[NAME]
    assert isinstance(counting, Counting)
    assert (counting.total.rows, begin) == (400, 400)
    assert NAME not in ledger.versions


def test_a_damaged_record_stays_until_a_total_that_took_its_place_is_written() -> None:
    damaged, sound = broken(), total(400)
    ledger = taken_up(damaged, sound)
    assert ledger.stale == []
    counting, _ = ledger.behind[NAME]
    ledger.adopt(NAME, counting)
    counting.changed = True  # type: ignore[union-attr]
    (replaced,) = ledger.snapshot().replaces.values()
    assert {key for key, _ in replaced} == {damaged.key, sound.key}


def test_of_a_key_whose_newest_value_is_damaged_the_value_before_it_is_continued() -> None:
    before = total(400)
    ledger = taken_up(broken(generation=4, value=before.value))
    assert ledger.behind[NAME][1] == 400


def test_without_a_sound_total_the_whole_log_is_counted_again_as_the_same_total() -> None:
    ledger = taken_up(broken("2"))
    assert (ledger.reopen[NAME], ledger.incarnations[NAME]) == (0, 2)


def test_a_log_whose_beginning_is_gone_is_counted_again_as_the_next_incarnation() -> None:
    ledger = taken_up(broken("2"), log=Log(100, 1_000, 500))
    assert (ledger.reopen[NAME], ledger.incarnations[NAME]) == (0, 3)  # catching up names 0 to 100 as uncounted


def test_counting_again_begins_where_the_reference_from_the_stream_ended() -> None:
    cut = OffsetRange(topic=TOPIC_PARTITION.topic, partition=3, from_offset=20, to_offset=140)
    frozen = SPEC.reference.frozen
    assert frozen is not None
    reference = SPEC.reference.model_copy(update={"frozen": frozen.model_copy(update={"offsets": (cut,)})})
    spec = SPEC.model_copy(update={"reference": reference})
    ledger = taken_up(broken(), registration=Registration(spec, Layout(spec), 1, draft().hash), log=Log(90, 1_000, 500))
    assert (ledger.reopen[NAME], ledger.incarnations[NAME]) == (140, 0)


def test_an_older_incarnation_does_not_take_the_place_of_a_damaged_one() -> None:
    ledger = taken_up(broken("1"), total(400))
    assert NAME not in ledger.behind
    assert (ledger.reopen[NAME], ledger.incarnations[NAME]) == (0, 1)


def test_counts_of_a_total_that_cannot_be_decoded_are_damage_too() -> None:
    event = ProfileTotal.model_validate_json(total(450).value)
    parts = (event.parts[0].model_copy(update={"counts": "AAAA"}),)
    ledger = taken_up(saved(event.model_copy(update={"parts": parts}), "0", 5), total(400))
    assert ledger.behind[NAME][1] == 400


def test_rows_of_a_reference_are_forwarded_again_from_a_damaged_record_on() -> None:
    ledger = taken_up(chunk(100, 120), broken("baseline/120"), chunk(150, 180), registration=COLLECTED)
    collecting, begin = ledger.behind[NAME]
    assert isinstance(collecting, Collecting)
    assert (collecting.first_offset, collecting.rows, begin) == (100, 20, 120)
    assert len(ledger.chunks[NAME]) == 3


def test_a_damaged_count_of_strangers_is_removed() -> None:
    damaged = broken("unregistered")
    assert taken_up(damaged, registration=None).stale == [(damaged.key, 0)]


def test_totals_of_a_version_that_is_not_registered_are_left_alone() -> None:
    ledger = taken_up(total(700), registration=None)
    assert (ledger.versions, ledger.stale) == ({}, [])


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("m/1/driftline.predictions/3/0", TOPIC_PARTITION),
        ("m/1/driftline.predictions/3/baseline/17", TOPIC_PARTITION),
        ("m/1/driftline.predictions/three/0", None),
        ("m", None),
        ("m/1/driftline.predictions/3", None),
    ],
)
def test_a_key_says_which_partition_it_is_about(base: str, expected: TP | None) -> None:
    assert source_of(StateKey(base, 1)) == expected


def test_a_baseline_event_round_trips_through_what_is_saved() -> None:
    assert isinstance(BaselineRows.model_validate_json(chunk(0, 5).value), BaselineRows)
