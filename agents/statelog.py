"""State that is kept as records of a compacted topic: awaited, fenced by generation, partitioned by model.

A writer of an old generation can be late. So every key ends with the writer's group generation: a late write has a
key of its own and never overwrites a newer owner's. The reader takes, of all records with the same base key, the one
that has come furthest; the owner removes the others once its own is acknowledged.

Each value is sealed (`agents.seals`). One that is not what was sealed is reported and refused; the value before it
under the same key counts then, where compaction has left it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from aiokafka.partitioner import murmur2
from aiokafka.structs import ConsumerRecord

from agents.log_reader import LogReader
from agents.producer import Outgoing
from agents.seals import NewerFormatError, check_seal, event_today, seal_of
from detector.state import NewerStateError, StateError
from schemas import codec

if TYPE_CHECKING:
    from agents.metrics import Metrics
    from agents.settings import Settings

SOURCE: Final = "/driftline/worker"
ENVELOPE_BYTES: Final = 4_096
"""What a record batch, its headers and its key add to a value, generously."""
MOST_REPORTED: Final = 1_000
"""So many states that are too large get a log line, once."""

log = structlog.get_logger(__name__)


def partition_for(model: str, partitions: int) -> int:
    """Choose the partition of everything that concerns a model: as any Kafka client would for the key ``model``."""
    return int(murmur2(model.encode()) & 0x7FFFFFFF) % partitions


@dataclass(frozen=True, slots=True)
class StateKey:
    """What a state is of, and who wrote it."""

    base: str
    """Such as ``model/version/topic/partition/incarnation``."""
    generation: int
    """Of the consumer group, at the writer."""

    def encode(self) -> bytes:
        """Write ``base@generation``."""
        return f"{self.base}@{self.generation}".encode()

    @classmethod
    def decode(cls, key: bytes | None) -> StateKey:
        """Read ``base@generation``.

        Raises
        ------
        ValueError
            If the key is not of that form.
        """
        base, at, generation = (key or b"").decode().rpartition("@")
        if not (at and base):
            raise ValueError(f"{key!r} is not base@generation")
        return cls(base, int(generation))


@dataclass(frozen=True, slots=True)
class Entry:
    """A state to be written, or removed (``value`` None)."""

    key: StateKey
    partition: int
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()

    @classmethod
    def of_event(cls, event: codec.Event, base: str, generation: int, partition: int) -> Entry:
        """Encode an event of the contract, with its CloudEvents headers."""
        headers = codec.headers(event, source=SOURCE)
        return cls(StateKey(base, generation), partition, codec.encode(event), headers)

    @classmethod
    def tombstone(cls, key: StateKey, partition: int) -> Entry:
        """Remove what was written under ``key``."""
        return cls(key, partition, None)


@dataclass(frozen=True, slots=True)
class Saved:
    """A state as it was read back."""

    key: StateKey
    partition: int
    value: bytes
    """Where the newest value is damaged, the one before it; empty where there is none."""
    damage: str | None = None
    """What is wrong with the newest value under the key; None: nothing."""


class Deliverer(Protocol):
    """Produces records and returns when the broker has acknowledged all of them."""

    async def deliver(self, records: Iterable[Outgoing], timeout_s: float | None = None) -> object:
        """Raise ``agents.errors.DeliveryError`` when one was refused, or not acknowledged in time."""


class StateLog:
    """One compacted topic of states.

    Parameters
    ----------
    topic
        Its name on the broker.
    max_message_bytes
        The topic's limit; larger states are reported and left out, since they would stop the producer for good.
    deliverer
        The app's producer.
    """

    def __init__(self, topic: str, max_message_bytes: int, deliverer: Deliverer) -> None:
        self.topic = topic
        self._largest = max_message_bytes - ENVELOPE_BYTES
        self._deliverer = deliverer
        self._reported: set[str] = set()

    async def write(self, entries: Sequence[Entry]) -> list[Entry]:
        """Write states in the order given and wait for the acknowledgement of all.

        Returns
        -------
        list of Entry
            Those that are too large for the topic: not written.

        Raises
        ------
        DeliveryError
            A record was refused, or not acknowledged in time: the worker must end.
        """
        refused = [entry for entry in entries if not self._fits(entry)]
        fitting = [entry for entry in entries if self._fits(entry)]
        for entry in refused:
            self._report(entry)
        if fitting:
            await self._deliverer.deliver(
                Outgoing(self.topic, entry.key.encode(), entry.value, entry.partition, headers=_sealed(entry))
                for entry in fitting
            )
        return refused

    def _report(self, entry: Entry) -> None:
        if entry.key.base in self._reported or len(self._reported) >= MOST_REPORTED:
            return
        self._reported.add(entry.key.base)
        log.error(
            "a record is too large for its topic and is left out: watch fewer signals or categories",
            topic=self.topic, key=entry.key.base, bytes=len(entry.value or b""), limit=self._largest,
        )  # fmt: skip

    def _fits(self, entry: Entry) -> bool:
        return len(entry.value or b"") <= self._largest


def _sealed(entry: Entry) -> Sequence[tuple[str, bytes]]:
    return entry.headers if entry.value is None else [*entry.headers, *seal_of(entry.value)]


def ranked(saved: Iterable[Saved], reached: Callable[[Saved], int]) -> dict[str, list[Saved]]:
    """Sort the records of each base key: the one that has come furthest first, of equals the latest writer's.

    Parameters
    ----------
    saved
        All that was read back.
    reached
        How far a record has come; negative where it cannot be read.
    """
    found: dict[str, list[Saved]] = {}
    for record in saved:
        found.setdefault(record.key.base, []).append(record)
    for records in found.values():
        records.sort(key=lambda record: (reached(record), record.key.generation), reverse=True)
    return found


def report_damage(metrics: Metrics | None, record: ConsumerRecord, why: object) -> None:
    """Name a saved record that is damaged, in the log and in a metric."""
    key = (record.key or b"").decode(errors="replace")
    log.error("a saved record is damaged and refused", topic=record.topic, partition=record.partition,
              offset=record.offset, key=key, why=str(why))  # fmt: skip
    if metrics is not None:
        metrics.damaged_records.labels(topic=record.topic).inc()


def open_record(record: ConsumerRecord) -> bytes:
    """Return the value of a saved record that is not a tombstone, in today's format.

    Raises
    ------
    NewerFormatError
        A newer release wrote it: the worker must end.
    StateError
        It is damaged.
    """
    value = record.value or b""
    try:
        return event_today(value, check_seal(value, record.headers))
    except NewerStateError as error:
        raise NewerFormatError(f"record {record.topic}/{record.partition}/{record.offset}", error) from None


async def read_back(
    settings: Settings,
    topic: str,
    wanted: Callable[[StateKey], bool] = lambda key: True,
    partitions: Iterable[int] | None = None,
    metrics: Metrics | None = None,
) -> tuple[list[Saved], int]:
    """Read a topic of states without a group, to its end.

    Parameters
    ----------
    topic
        Its name on the broker.
    wanted
        Which keys to keep; the values of others are not held in memory.
    partitions
        Which partitions; None: all.
    metrics
        Where damaged records are counted.

    Returns
    -------
    saved
        The last value of each key, tombstones applied.
    count
        Partitions that were read.

    Raises
    ------
    BrokerError
        The topic cannot be read.
    NewerFormatError
        A newer release has written to it.
    """
    kept: dict[tuple[int, StateKey], Saved] = {}
    damaged: dict[tuple[int, StateKey], tuple[ConsumerRecord, StateError]] = {}
    async with LogReader(settings, topic, partitions) as reader:
        async for records in reader.read_to_end():
            for record in records:
                try:
                    key = StateKey.decode(record.key)
                except ValueError as error:
                    log.warning("a record of a state topic is passed over", topic=topic, why=str(error))
                    continue
                place = (record.partition, key)
                if record.value is None:
                    kept.pop(place, None)
                    damaged.pop(place, None)
                elif wanted(key):
                    try:
                        kept[place] = Saved(key, record.partition, open_record(record))
                        damaged.pop(place, None)
                    except StateError as error:
                        damaged[place] = (record, error)
        count = len(reader.positions)
    for place, (record, why) in damaged.items():
        report_damage(metrics, record, why)
        before = kept.get(place)
        kept[place] = Saved(place[1], place[0], b"" if before is None else before.value, damage=str(why))
    return list(kept.values()), count
