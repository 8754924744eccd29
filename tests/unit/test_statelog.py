"""States as records: keys, partitions, what is too large, and which of several counts."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agents.producer import Outgoing
from agents.statelog import ENVELOPE_BYTES, Entry, Saved, StateKey, StateLog, furthest, partition_for


class Broker:
    """Acknowledges everything and keeps it."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []

    async def deliver(self, records: Iterable[Outgoing], timeout_s: float | None = None) -> None:
        self.records += records


def saved(base: str, generation: int, reached: int) -> Saved:
    return Saved(StateKey(base, generation), 0, str(reached).encode())


def read(record: Saved) -> tuple[int, tuple[int]] | None:
    return None if record.value == b"-1" else (int(record.value), (int(record.value),))


@given(st.text(min_size=1).filter(lambda base: "@" not in base), st.integers(-1, 10**9))
def test_a_key_is_read_as_it_was_written(base: str, generation: int) -> None:
    key = StateKey(base, generation)
    assert StateKey.decode(key.encode()) == key


@pytest.mark.parametrize("key", [None, b"", b"no generation", b"@3", b"base@", b"base@three", b"\xff@1"])
def test_a_key_of_another_form_is_refused(key: bytes | None) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own
        StateKey.decode(key)


@given(st.text(max_size=50), st.integers(1, 64))
def test_a_model_has_the_partition_that_any_client_would_choose_for_its_id(model: str, partitions: int) -> None:
    numbers = list(range(partitions))
    assert partition_for(model, partitions) == DefaultPartitioner()(model.encode(), numbers, numbers)


def test_of_one_key_the_state_counts_that_has_come_furthest_whoever_wrote_it() -> None:
    chosen, others = furthest([saved("a", 3, 10), saved("a", 1, 12), saved("a", 2, 11), saved("b", 1, 5)], read)
    assert {base: found.state for base, found in chosen.items()} == {"a": 12, "b": 5}
    assert chosen["a"].record.key.generation == 1
    assert {other.key.generation for other in others} == {2, 3}


def test_of_states_that_have_come_equally_far_the_latest_writer_s_counts() -> None:
    chosen, others = furthest([saved("a", 2, 10), saved("a", 3, 10), saved("a", 1, 10)], read)
    assert chosen["a"].record.key.generation == 3
    assert len(others) == 2


def test_a_state_that_cannot_be_read_is_among_those_to_remove() -> None:
    chosen, others = furthest([saved("a", 1, -1), saved("a", 2, 3)], read)
    assert (chosen["a"].state, [other.key.generation for other in others]) == (3, [1])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 20)), unique_by=lambda s: s[:2]))
def test_every_record_is_chosen_or_to_be_removed(states: list[tuple[str, int, int]]) -> None:
    records = [saved(*state) for state in states]
    chosen, others = furthest(records, read)
    assert sorted(map(repr, [*(found.record for found in chosen.values()), *others])) == sorted(map(repr, records))


async def test_states_are_written_in_order_under_their_key_and_generation() -> None:
    broker = Broker()
    log = StateLog("profiles", 10_000, broker)
    refused = await log.write([Entry(StateKey("m/1", 7), 2, b"a"), Entry.tombstone(StateKey("m/1", 6), 2)])
    assert [(record.key, record.value, record.partition) for record in broker.records] == [
        (b"m/1@7", b"a", 2),
        (b"m/1@6", None, 2),
    ]
    assert refused == []


async def test_a_state_over_the_topic_s_limit_is_left_out_and_reported_once_and_the_others_are_written() -> None:
    broker = Broker()
    log = StateLog("profiles", ENVELOPE_BYTES + 10, broker)
    entries = [Entry(StateKey("a", 1), 0, b"x" * 11), Entry(StateKey("b", 1), 0, b"x" * 10)]
    with capture_logs() as lines:
        assert await log.write(entries) == entries[:1]
        assert await log.write(entries[:1]) == entries[:1]
    assert [record.key for record in broker.records] == [b"b@1"]
    assert [line["key"] for line in lines] == ["a"]
