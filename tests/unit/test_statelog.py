"""States as records: keys, partitions, what is too large, and which of several counts."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agents.producer import Outgoing
from agents.seals import FORMAT, check_seal
from agents.statelog import ENVELOPE_BYTES, Entry, Saved, StateKey, StateLog, partition_for, ranked


class Broker:
    """Acknowledges everything and keeps it."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []

    async def deliver(self, records: Iterable[Outgoing], timeout_s: float | None = None) -> None:
        self.records += records


def saved(base: str, generation: int, reached: int) -> Saved:
    return Saved(StateKey(base, generation), 0, str(reached).encode())


def reached(record: Saved) -> int:
    return int(record.value)


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


def test_of_one_key_the_state_comes_first_that_has_come_furthest_whoever_wrote_it() -> None:
    found = ranked([saved("a", 3, 10), saved("a", 1, 12), saved("a", 2, 11), saved("b", 1, 5)], reached)
    assert {base: [reached(each) for each in records] for base, records in found.items()} == {
        "a": [12, 11, 10],
        "b": [5],
    }


def test_of_states_that_have_come_equally_far_the_latest_writer_s_comes_first() -> None:
    found = ranked([saved("a", 2, 10), saved("a", 3, 10), saved("a", 1, 10)], reached)
    assert [record.key.generation for record in found["a"]] == [3, 2, 1]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(-1, 20)), unique_by=lambda s: s[:2]))
def test_every_record_is_ranked_once(states: list[tuple[str, int, int]]) -> None:
    records = [saved(*state) for state in states]
    found = ranked(records, reached)
    assert sorted(map(repr, chain.from_iterable(found.values()))) == sorted(map(repr, records))


async def test_a_state_is_sealed_when_it_is_written_and_a_tombstone_is_not() -> None:
    producer = Broker()
    await StateLog("t", 10_000, producer).write(
        [Entry(StateKey("a", 1), 0, b"value", (("own", b"header"),)), Entry.tombstone(StateKey("b", 1), 0)]
    )
    written, removed = producer.records
    assert ("own", b"header") in written.headers
    assert check_seal(b"value", written.headers) == FORMAT
    assert list(removed.headers) == []


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
