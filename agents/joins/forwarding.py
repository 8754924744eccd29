"""What must be joined goes to the topic ``joins``, to the partition of its id, before its own offset is committed.

Rows are kept here as they are counted, in the same step without an await, and delivered before their offsets are
committed (and sooner, when there are many). What is delivered twice, since a worker fell before it could commit,
is joined once: a part that waits under an id already changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.failpoints import Place, failpoint, failpoint_or_hang
from agents.joins.records import (
    ID_BYTES,
    LARGEST_PAYLOAD,
    Section,
    encode_payload,
    encode_record,
    hash_ids,
    is_sampled,
    payload_of,
)
from agents.producer import Outgoing
from agents.statelog import Deliverer
from detector.rows import Column

if TYPE_CHECKING:
    from agents.metrics import Metrics
    from schemas.performance import OutcomeSpec

RECORD_BYTES: Final = 131_072
"""Aimed at for one record: a worker joins so much in one turn."""
RECORD_ITEMS: Final = 4_096
MANY: Final = 32_768
"""With so many items waiting they are delivered without waiting for the next publication."""


@dataclass(slots=True)
class Forward:
    """Predictions or labels of one model and version, n of them, that must be joined.

    Attributes
    ----------
    model, version
        The latter is empty for labels that name none.
    ids
        (n,) prediction ids.
    times
        (n,) event times, seconds since 1970.
    stages
        (n,) indices into ``detector.rows.STAGES``.
    outcomes
        Of the spec: which ids are kept.
    labels
        (n,) labels as they came; None: these are predictions.
    watched, classes
        (n,) watched part of the predictions, and classes where the score is watched; None where no event has one.
    features
        (n,) columns in the order of the spec's features; empty where the stream carries none.
    segments
        (n,) columns of the fields by which rows are broken down; empty where they are not.
    """

    model: str
    version: str
    ids: Sequence[str]
    times: NDArray[np.float64]
    stages: NDArray[np.int8]
    outcomes: OutcomeSpec
    labels: Sequence[Any] | None = None
    watched: Column | None = None
    classes: Sequence[str | None] | None = None
    features: tuple[Column, ...] = ()
    segments: tuple[Column, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(slots=True)
class _Outbox:
    """What waits for one partition."""

    sections: list[Section] = field(default_factory=list)
    items: int = 0


class Forwarder:
    """Keeps what must be joined, and delivers it.

    Parameters
    ----------
    topic
        Name of ``joins`` on the broker.
    deliverer
        The app's producer.
    metrics
        Where it is counted what is left out.
    """

    def __init__(self, topic: str, deliverer: Deliverer, metrics: Metrics) -> None:
        self._topic = topic
        self._deliverer = deliverer
        self._metrics = metrics
        self._turn = asyncio.Lock()
        self._outboxes: list[_Outbox] = []

    async def follow(self, partitions: int) -> None:
        """Take note of how many partitions ``joins`` has: before the first `add`, and when it may have got more.

        Raises
        ------
        DeliveryError
            What waited for the partitions of before was not acknowledged.
        """
        if len(self._outboxes) != partitions:
            await self.deliver()
            self._outboxes = [_Outbox() for _ in range(partitions)]

    @property
    def waiting(self) -> int:
        """Items that are not acknowledged yet."""
        return sum(outbox.items for outbox in self._outboxes)

    def add(self, forwards: Iterable[Forward]) -> None:
        """Keep those of the items whose ids belong to the sample."""
        for forward in forwards:
            if len(forward):
                self._add(forward)

    def _add(self, forward: Forward) -> None:
        hashes = hash_ids(forward.model, forward.ids)
        payloads = _payloads(forward)
        kept = is_sampled(hashes, forward.outcomes.sample)
        sizes = np.fromiter(map(len, payloads), np.int64, len(payloads))
        if sizes.max() > LARGEST_PAYLOAD:
            self._metrics.outcomes_left_out.inc(int((kept & (sizes > LARGEST_PAYLOAD)).sum()))
            kept &= sizes <= LARGEST_PAYLOAD
        partitions = hashes["partition"] % len(self._outboxes)
        for partition, outbox in enumerate(self._outboxes):
            in_partition = kept & (partitions == partition)
            for stage in np.unique(forward.stages[in_partition]).tolist():
                chosen = np.flatnonzero(in_partition & (forward.stages == stage))
                for places in _in_pieces(chosen, sizes):
                    outbox.sections.append(_section(forward, stage, hashes[places].tobytes(), places, payloads))
                    outbox.items += len(places)

    def clear(self) -> None:
        """Forget what waits: its records will be read again."""
        self._outboxes = [_Outbox() for _ in self._outboxes]

    async def deliver(self) -> None:
        """Produce what waits, and return when it is acknowledged; one delivery at a time.

        Raises
        ------
        DeliveryError
            It was not acknowledged: it waits again, and the worker must end.
        """
        async with self._turn:
            taken, self._outboxes = self._outboxes, [_Outbox() for _ in self._outboxes]
            records = [
                Outgoing(self._topic, None, value, partition)
                for partition, outbox in enumerate(taken)
                for value in _records(outbox.sections)
            ]
            try:
                if records:
                    await failpoint_or_hang(Place.BEFORE_FORWARD)
                    await self._deliverer.deliver(records)
                    failpoint(Place.FORWARDED)
            except BaseException:
                # A later flush, as at the end of a worker that crashes, must not commit what was not forwarded.
                for before, outbox in zip(taken, self._outboxes, strict=True):
                    outbox.sections[:0] = before.sections
                    outbox.items += before.items
                raise


def _payloads(forward: Forward) -> list[bytes]:
    if forward.labels is not None:
        return list(map(payload_of, forward.labels))
    nothing: list[None] = [None] * len(forward)
    watched = nothing if forward.watched is None else _values(forward.watched)
    classes = nothing if forward.classes is None else forward.classes
    features = map(_values, forward.features if forward.outcomes.features else ())
    segments = [list(zip(*map(_values, forward.segments), strict=True))] if forward.segments else []
    return list(map(encode_payload, zip(watched, classes, *features, *segments, strict=True)))


def _values(column: Column) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else column


def _in_pieces(places: NDArray[np.int64], sizes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut places so that each piece fits a record."""
    if len(places) == 0:
        return
    filled = np.cumsum(sizes[places] + ID_BYTES + 8) // RECORD_BYTES
    numbers = filled + np.arange(len(places)) // RECORD_ITEMS
    yield from np.split(places, np.flatnonzero(np.diff(numbers)) + 1)


def _section(forward: Forward, stage: int, ids: bytes, places: NDArray[np.int64], payloads: Sequence[bytes]) -> Section:
    return Section(
        is_label=forward.labels is not None,
        model=forward.model,
        version=forward.version,
        stage=stage,
        ids=ids,
        times=forward.times[places].tobytes(),
        payloads=[payloads[place] for place in places.tolist()],
    )


def _records(sections: Iterable[Section]) -> Iterator[bytes]:
    """Put sections together to records, in order."""
    together: list[Section] = []
    items = size = 0
    for section in sections:
        bytes_ = len(section) * (ID_BYTES + 8) + sum(map(len, section.payloads))
        if together and (items + len(section) > RECORD_ITEMS or size + bytes_ > RECORD_BYTES):
            yield encode_record(together)
            together, items, size = [], 0, 0
        together.append(section)
        items += len(section)
        size += bytes_
    if together:
        yield encode_record(together)
