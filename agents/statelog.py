"""State that is kept as records of a compacted topic: awaited, fenced by generation, partitioned by model.

A writer of an old generation can be late. So every key ends with the writer's group generation: a late write has a
key of its own and never overwrites a newer owner's. The reader takes, of all records with the same base key, the one
that has come furthest; the owner removes the others once its own is acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import structlog
from aiokafka.partitioner import murmur2

from agents.log_reader import LogReader
from agents.producer import Outgoing
from schemas import codec

if TYPE_CHECKING:
    from agents.settings import Settings

SOURCE: Final = "/driftline/worker"
ENVELOPE_BYTES: Final = 4_096
"""What a record batch, its headers and its key add to a value, generously."""
MOST_REPORTED: Final = 1_000
"""So many states that are too large get a log line, once."""

AnyState = TypeVar("AnyState")

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
                Outgoing(self.topic, entry.key.encode(), entry.value, entry.partition, headers=entry.headers)
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


@dataclass(frozen=True, slots=True)
class Furthest(Generic[AnyState]):
    """The state of a base key that counts, decoded, and the record it was read from."""

    state: AnyState
    record: Saved


def furthest(
    saved: Iterable[Saved], read: Callable[[Saved], tuple[AnyState, tuple[int, ...]] | None]
) -> tuple[dict[str, Furthest[AnyState]], list[Saved]]:
    """Choose, of the states with the same base key, the one that has come furthest; of equals the latest writer's.

    Parameters
    ----------
    saved
        All that was read back.
    read
        Decodes a state and says how far it has come; None where it cannot be read.

    Returns
    -------
    tuple
        The chosen state by base key, and all other records, which the owner should remove.
    """
    best: dict[str, tuple[tuple[int, ...], Furthest[AnyState]]] = {}
    others: list[Saved] = []
    for record in saved:
        decoded = read(record)
        if decoded is None:
            others.append(record)
            continue
        state, reached = decoded
        rank = (*reached, record.key.generation)
        known = best.get(record.key.base)
        if known is None or rank > known[0]:
            best[record.key.base] = (rank, Furthest(state, record))
            others += [] if known is None else [known[1].record]
        else:
            others.append(record)
    return {base: chosen for base, (_, chosen) in best.items()}, others


async def read_back(
    settings: Settings,
    topic: str,
    wanted: Callable[[StateKey], bool] = lambda key: True,
    partitions: Iterable[int] | None = None,
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
    """
    kept: dict[tuple[int, StateKey], Saved] = {}
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
                elif wanted(key):
                    kept[place] = Saved(key, record.partition, record.value)
        count = len(reader.positions)
    return list(kept.values()), count
