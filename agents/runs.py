"""A run: consecutive records of one partition that an agent gets as one message."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Self

from aiokafka.structs import ConsumerRecord

_offset = attrgetter("offset")


@dataclass(frozen=True, slots=True)
class Run:
    """Records of one partition as they were fetched: never empty, offsets rising.

    Offsets may have gaps (compaction, transaction markers). After a rebalance a partition is read again from its
    committed offset, so a run may repeat records that were seen before; it never leaves one out. Whoever counts
    keeps the next offset of each partition and takes ``run.since(next_offset)``.
    """

    topic: str
    partition: int
    records: Sequence[ConsumerRecord]

    @property
    def first_offset(self) -> int:
        """Offset of the first record."""
        return self.records[0].offset

    @property
    def last_offset(self) -> int:
        """Offset of the last record."""
        return self.records[-1].offset

    @property
    def next_offset(self) -> int:
        """The offset to commit when the run is done."""
        return self.records[-1].offset + 1

    def __len__(self) -> int:
        return len(self.records)

    def since(self, offset: int) -> Self | None:
        """Return what is left of the run from ``offset`` on; None when nothing is."""
        if self.first_offset >= offset:
            return self
        kept = self.records[bisect_left(self.records, offset, key=_offset) :]
        return type(self)(self.topic, self.partition, kept) if kept else None


def cut(topic: str, partition: int, records: Sequence[ConsumerRecord], max_records: int) -> Iterator[Run]:
    """Cut the fetched records of one partition into runs of at most ``max_records``."""
    if len(records) <= max_records:
        yield Run(topic, partition, records)
        return
    for start in range(0, len(records), max_records):
        yield Run(topic, partition, records[start : start + max_records])
