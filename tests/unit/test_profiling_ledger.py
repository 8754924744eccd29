"""The books of one source partition: what a run adds, and what a snapshot takes."""

from __future__ import annotations

from faust.types import TP

from agents.partition_totals import MOST_STRANGERS, OTHERS, PartitionLedger
from agents.registry import Registration
from agents.runs import Run
from agents.statelog import partition_for
from detector.layout import Layout
from detector.rows import Source
from schemas.model_spec import FrozenReference, ModelSpec, OffsetRange
from schemas.profiles import PROFILE_EVENT, BaselineRows, ProfileTotal, UnregisteredRows
from tests.support.decoding import TOPIC, decoder_for, record
from tests.support.profiling import draft, event, registered

TOPIC_PARTITION = TP(TOPIC, 3)


def ledger_of(every_rows: int | None = None) -> PartitionLedger:
    return PartitionLedger(TOPIC_PARTITION, Source.PREDICTIONS, 5, every_rows, profile_partitions=7)


def registration(spec: ModelSpec) -> Registration:
    layout = Layout(spec) if spec.reference.frozen else None
    return Registration(spec, layout, 0, spec.hash)


def count(ledger: PartitionLedger, start: int, *values: bytes, specs: tuple[ModelSpec, ...] = (registered(),)) -> None:
    """Count a run of events whose offsets begin at ``start``."""
    run = Run(TOPIC, 3, [record(value, start + place) for place, value in enumerate(values)])
    decoder = decoder_for(*specs)
    decoded = decoder.decode(run, Source.PREDICTIONS)
    decoded.rows = [(registration(found.spec), rows) for found, rows in decoded.rows]
    for name, (found, first_row) in ledger.unready(decoded).items():
        ledger.adopt(name, ledger.open(found, ledger.begin(found, first_row)))
    ledger.count(run, decoded)


def published(ledger: PartitionLedger) -> list[ProfileTotal | BaselineRows | UnregisteredRows]:
    return [PROFILE_EVENT.validate_json(entry.value or b"") for entry in ledger.snapshot().entries]


def test_a_total_begins_at_the_first_row_that_is_met() -> None:
    ledger = ledger_of()
    count(ledger, 10, b"{", event(1), event(2))
    (total,) = published(ledger)
    assert isinstance(total, ProfileTotal)
    assert (total.started_at, total.next_offset, total.rows) == (11, 13, 2)


def test_a_snapshot_allows_to_commit_what_lies_below_the_position() -> None:
    ledger = ledger_of()
    count(ledger, 0, event(1), b"{", event(2))
    assert ledger.snapshot().commit == 3


def test_only_totals_that_have_changed_are_taken() -> None:
    ledger = ledger_of()
    specs = (registered("a"), registered("b"))
    count(ledger, 0, event(1, "a"), event(1, "b"), specs=specs)
    assert {total.model for total in published(ledger)} == {"a", "b"}
    count(ledger, 2, event(2, "b"), specs=specs)
    assert [total.model for total in published(ledger)] == ["b"]


def test_everything_of_a_model_goes_to_the_partition_of_its_id() -> None:
    ledger = ledger_of()
    models = ("a", "b", "c", "d", "e")
    count(ledger, 0, *(event(1, model) for model in models), specs=tuple(map(registered, models)))
    for entry in ledger.snapshot().entries:
        assert entry.partition == partition_for(entry.key.base.split("/")[0], 7)


def test_a_newer_total_replaces_the_rows_that_were_forwarded_and_the_key_of_an_older_generation() -> None:
    ledger = ledger_of()
    count(ledger, 0, event(1), event(2), specs=(draft(),))
    forwarded = [(entry.key, entry.partition) for entry in ledger.snapshot().entries]
    frozen = registration(registered())
    ledger.adopt(("m", "1"), ledger.open(frozen, ledger.begin(frozen)))
    assert list(ledger.snapshot().replaces.values()) == [forwarded]


def test_a_key_is_not_removed_by_the_writer_that_writes_it() -> None:
    ledger = ledger_of()
    for start in (0, 5):
        count(ledger, start, event(1))
        assert list(ledger.snapshot().replaces.values()) == [[]]


def test_counting_begins_where_the_baseline_of_this_partition_ends() -> None:
    spec = registered()
    assert spec.reference.frozen is not None
    cuts = tuple(
        OffsetRange(topic=TOPIC, partition=partition, from_offset=0, to_offset=100 + partition) for partition in (2, 3)
    )
    frozen = FrozenReference(**(dict(spec.reference.frozen) | {"offsets": cuts}))
    cut = spec.model_copy(update={"reference": spec.reference.model_copy(update={"frozen": frozen})})
    assert ledger_of().begin(registration(cut), first_row=7) == 103


def test_strangers_are_counted_together_and_reported_when_they_grow() -> None:
    ledger = ledger_of()
    count(ledger, 0, event(1, "s"), event(2, "s"), specs=())
    count(ledger, 2, event(3, "s"), specs=())
    (seen,) = published(ledger)
    assert isinstance(seen, UnregisteredRows)
    assert (seen.model, seen.rows, seen.next_offset) == ("s", 3, 3)
    assert published(ledger) == []


def test_a_flood_of_strangers_shares_a_count() -> None:
    ledger = ledger_of()
    count(ledger, 0, *(event(1, f"s{number}") for number in range(MOST_STRANGERS + 50)), specs=())
    assert len(ledger.strangers) == MOST_STRANGERS + 1
    assert ledger.strangers[OTHERS].rows == 50


def test_offsets_without_records_are_noted_to_be_looked_at() -> None:
    ledger = ledger_of()
    count(ledger, 0, event(1))
    count(ledger, 9, event(2))
    assert ledger.gaps == [(1, 9)]


def test_a_version_registered_anew_begins_the_next_incarnation() -> None:
    ledger = ledger_of()
    count(ledger, 0, event(1))
    count(ledger, 1, event(2), specs=(registered().model_copy(update={"owner": "another"}),))
    (total,) = published(ledger)
    assert isinstance(total, ProfileTotal)
    assert (total.incarnation, total.started_at, total.rows) == (1, 1, 1)
