"""Records of the topic of joins, and what is put into them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import DeliveryError
from agents.joins.forwarding import RECORD_BYTES, RECORD_ITEMS, Forward, Forwarder
from agents.joins.records import (
    ID_BYTES,
    LARGEST_PAYLOAD,
    RecordError,
    Section,
    decode_payload,
    decode_record,
    encode_record,
    hash_ids,
    is_sampled,
    payload_of,
)
from agents.metrics import Metrics
from agents.producer import Outgoing
from detector.state import NewerStateError, seal
from schemas.performance import OutcomeSpec

SECTION = Section(True, "m", "", 0, b"i" * ID_BYTES, np.array([1.0]).tobytes(), [b"p"])


@dataclass
class Broker:
    """Takes what is delivered, or refuses."""

    records: list[Outgoing] = field(default_factory=list)
    refuses: bool = False

    async def deliver(self, records: Iterable[Outgoing], timeout_s: float | None = None) -> None:
        if self.refuses:
            raise DeliveryError("not acknowledged, says the test")
        self.records += records

    def sections(self) -> list[tuple[int | None, Section]]:
        return [(record.partition, each) for record in self.records for each in decode_record(record.value)]


async def forwarder(broker: Broker, partitions: int = 4) -> Forwarder:
    made = Forwarder("joins", broker, Metrics())
    await made.follow(partitions)
    return made


def answers(count: int, **fields: object) -> Forward:
    ids = [f"id-{number}" for number in range(count)]
    stages = np.array([number % 2 for number in range(count)], dtype=np.int8)
    basis = {"outcomes": OutcomeSpec(), "watched": np.linspace(0, 1, count)}
    return Forward("m", "1", ids, np.arange(count, dtype=np.float64), stages, **(basis | fields))  # type: ignore[arg-type]


def labels(count: int, **fields: object) -> Forward:
    return answers(count, watched=None, labels=["yes"] * count, **fields)


def test_a_record_is_read_back_as_it_was_written() -> None:
    assert decode_record(encode_record([SECTION, SECTION])) == [SECTION, SECTION]


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\x02\x90", b"\x01\xff", encode_record([SECTION])[:-1]])
def test_what_is_no_record_is_refused(value: bytes | None) -> None:
    with pytest.raises(RecordError):
        decode_record(value)


def test_a_record_whose_columns_differ_in_length_is_refused() -> None:
    with pytest.raises(RecordError, match="differ in length"):
        decode_record(encode_record([Section(True, "m", "", 0, b"short", b"", [b"p"])]))


def test_the_hash_of_an_id_depends_on_its_model() -> None:
    assert hash_ids("a", ["1"])[0] != hash_ids("b", ["1"])[0]
    assert hash_ids("a", ["1"])[0] == hash_ids("a", ["1"])[0]


def test_a_share_of_the_ids_is_sampled_and_a_larger_one_contains_it() -> None:
    hashes = hash_ids("m", map(str, range(20_000)))
    assert is_sampled(hashes, 1.0).all()
    assert is_sampled(hashes, 0.25).mean() == pytest.approx(0.25, abs=0.015)
    assert not (is_sampled(hashes, 0.25) & ~is_sampled(hashes, 0.5)).any()


def test_a_label_of_no_scalar_type_is_kept_as_such() -> None:
    assert decode_payload(payload_of({"a": 1})) == []
    assert [decode_payload(payload_of(each)) for each in ("a", 1, 1.5, True)] == ["a", 1, 1.5, True]


async def test_predictions_and_labels_of_an_id_go_to_the_same_partition() -> None:
    broker = Broker()
    sender = await forwarder(broker)
    sender.add([answers(500), labels(500)])
    await sender.deliver()
    places: dict[tuple[bool, bytes], int | None] = {}
    for partition, section in broker.sections():
        for at in range(len(section)):
            places[section.is_label, section.ids[at * ID_BYTES : (at + 1) * ID_BYTES]] = partition
    assert len(places) == 1_000
    assert all(places[True, id_] == partition for (is_label, id_), partition in places.items() if not is_label)
    assert set(places.values()) == {0, 1, 2, 3}


async def test_items_keep_their_times_stages_and_payloads() -> None:
    broker = Broker()
    sender = await forwarder(broker)
    sent = answers(300, classes=["late"] * 300, features=(np.arange(300.0), ["a"] * 300))
    sender.add([sent])
    await sender.deliver()
    by_time = {}
    for _, section in broker.sections():
        for time, payload in zip(np.frombuffer(section.times), section.payloads, strict=True):
            by_time[time] = (section.stage, decode_payload(payload))
    assert by_time == {
        float(n): (n % 2, [np.linspace(0, 1, 300)[n], "late", float(n), "a"]) for n in range(300)
    }  # fmt: skip


async def test_a_sample_keeps_the_same_ids_on_both_sides() -> None:
    broker = Broker()
    sender = await forwarder(broker)
    outcomes = OutcomeSpec(sample=0.3)
    sender.add([answers(2_000, outcomes=outcomes), labels(2_000, outcomes=outcomes)])
    await sender.deliver()
    kept: dict[bool, set[bytes]] = {True: set(), False: set()}
    for _, section in broker.sections():
        kept[section.is_label] |= {section.ids[at : at + ID_BYTES] for at in range(0, len(section.ids), ID_BYTES)}
    assert kept[True] == kept[False]
    assert 500 < len(kept[True]) < 700


async def test_records_stay_small_however_many_items_wait() -> None:
    broker = Broker()
    sender = await forwarder(broker, partitions=1)
    sender.add([answers(20_000), answers(2_000, features=tuple(["x" * 20] * 2_000 for _ in range(20)))])
    await sender.deliver()
    assert sum(len(section) for _, section in broker.sections()) == 22_000
    for record in broker.records:
        assert len(record.value or b"") < 1.1 * RECORD_BYTES
        assert sum(map(len, decode_record(record.value))) <= RECORD_ITEMS


async def test_an_item_that_is_too_large_is_left_out_alone() -> None:
    broker = Broker()
    sender = await forwarder(broker)
    sender.add([answers(3, watched=["a", "b" * LARGEST_PAYLOAD, "c"])])
    await sender.deliver()
    assert sum(len(section) for _, section in broker.sections()) == 2


async def test_what_is_not_acknowledged_waits_again() -> None:
    broker = Broker(refuses=True)
    sender = await forwarder(broker)
    sender.add([answers(10)])
    with pytest.raises(DeliveryError):
        await sender.deliver()
    assert sender.waiting == 10
    broker.refuses = False
    sender.add([labels(5)])
    await sender.deliver()
    assert sender.waiting == 0
    assert sum(len(section) for _, section in broker.sections()) == 15


async def test_a_delivery_that_is_cancelled_waits_again() -> None:
    class Slow(Broker):
        async def deliver(self, records: Iterable[Outgoing], timeout_s: float | None = None) -> None:
            await asyncio.sleep(60)

    sender = await forwarder(Slow())
    sender.add([answers(10)])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await sender.deliver()
    assert sender.waiting == 10


async def test_features_stay_away_where_the_spec_says_so() -> None:
    broker = Broker()
    sender = await forwarder(broker)
    sender.add([answers(10, features=(np.arange(10.0),), outcomes=OutcomeSpec(features=False))])
    await sender.deliver()
    assert {len(decode_payload(payload)) for _, section in broker.sections() for payload in section.payloads} == {2}


async def test_more_partitions_are_followed_when_what_waited_for_the_others_is_delivered() -> None:
    broker = Broker()
    sender = await forwarder(broker, partitions=1)
    sender.add([answers(100)])
    await sender.follow(8)
    assert {record.partition for record in broker.records} == {0}
    sender.add([labels(100)])
    await sender.deliver()
    assert len({record.partition for record in broker.records}) == 8


@given(st.integers(0, 8 * len(encode_record([SECTION])) - 1))
def test_a_record_with_a_flipped_bit_is_refused(bit: int) -> None:
    damaged = bytearray(encode_record([SECTION]))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RecordError):
        decode_record(bytes(damaged))


@given(st.integers(0, len(encode_record([SECTION])) - 1))
def test_a_record_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(RecordError):
        decode_record(encode_record([SECTION])[:length])


def test_a_record_of_a_newer_format_is_no_damaged_one() -> None:
    with pytest.raises(NewerStateError):
        decode_record(seal(b"who knows", 3))
