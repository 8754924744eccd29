"""Totals that begin below the position of their partition: the range in between is read once more.

That happens when a reference from the stream was frozen (counting begins where the baseline ends, and the agent has
moved on meanwhile), when a topic was made anew, when a model registered itself, and when what was saved last is damaged
and an older total is continued. The log is the buffer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import structlog

from agents.baseline import Collecting
from agents.counting import Counting
from agents.errors import OperatorError
from agents.formats.decoded import DecodedRun
from agents.joins.store import DamagedStoreError
from agents.log_reader import LogReader
from agents.partition_totals import PartitionLedger, add_rows, by_version, name_of
from agents.runs import Run, cut
from detector.rows import Source
from schemas.model_spec import OffsetRange

if TYPE_CHECKING:
    from agents.registry import Registration, Registry
    from agents.settings import Settings

log = structlog.get_logger(__name__)


class Decoder(Protocol):
    """Makes rows of runs."""

    def decode(self, run: Run, source: Source) -> DecodedRun:
        """Decode a run of the stream ``source``."""


class CatchUp:
    """Opens totals where they are due.

    Parameters
    ----------
    settings, registry, decoder
        Of the worker.
    is_current
        Whether a ledger's partition still belongs to this worker; work on others is dropped.
    report_gap
        Called for offsets that retention removed before they could be counted.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        decoder: Decoder,
        is_current: Callable[[PartitionLedger], bool],
        report_gap: Callable[[OffsetRange], None],
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._decoder = decoder
        self._is_current = is_current
        self._report_gap = report_gap

    def is_due(self, ledger: PartitionLedger) -> bool:
        """Whether `settle` has anything to look at."""
        return bool(ledger.reopen or ledger.behind) or ledger.settled_at != self._registry.revision

    async def settle(self, ledger: PartitionLedger) -> None:
        """Open what is due by the registry; the caller holds the ledger's turn."""
        for name, (version, begin) in list(ledger.behind.items()):
            if (registration := self._registry.lookup(*name)) is not None:
                await self._bring_up(ledger, registration, version, begin)
        for name in list(ledger.reopen):
            if (registration := self._registry.lookup(*name)) is not None and registration.layout is not None:
                await self.open(ledger, registration)
        revision = self._registry.revision
        if ledger.settled_at == revision:
            return
        for name, version in list(ledger.versions.items()):
            registration = self._registry.lookup(*name)
            if isinstance(version, Collecting) and registration is not None and registration.layout is not None:
                await self.open(ledger, registration)
        for name, stranger in list(ledger.strangers.items()):
            if (registration := self._registry.lookup(*name)) is not None:
                if self._settings.auto_register and registration.layout is None:
                    await self._collect(ledger, registration, stranger.first_offset)
                ledger.forget_stranger(name)
        ledger.settled_at = revision

    async def _bring_up(
        self, ledger: PartitionLedger, registration: Registration, version: Counting | Collecting, begin: int
    ) -> None:
        """Go on with what lies behind the position, since what was saved last was damaged."""
        if await self._read_again(ledger, registration, begin, version):
            if isinstance(version, Counting):
                version.total.next_offset = max(version.total.next_offset, ledger.position)
                version.changed = version.changed or version.every_rows is None
            ledger.adopt(name_of(registration), version)

    async def open(self, ledger: PartitionLedger, registration: Registration, first_row: int | None = None) -> None:
        """Begin the total of a version.

        Parameters
        ----------
        ledger
            Its turn is held by the caller.
        registration
            With a frozen reference.
        first_row
            Offset of the first row that was met; None: none was.
        """
        begin = ledger.begin(registration, first_row)
        counting = ledger.open(registration, begin)
        if await self._read_again(ledger, registration, begin, counting):
            counting.total.next_offset = max(counting.total.next_offset, ledger.position)
            ledger.adopt(name_of(registration), counting)

    async def _collect(self, ledger: PartitionLedger, registration: Registration, begin: int) -> None:
        """Forward the rows from which a model registered itself, too."""
        collecting = Collecting(registration.spec, registration.declared_hash, *ledger.tp)
        if await self._read_again(ledger, registration, begin, collecting):
            ledger.adopt(name_of(registration), collecting)

    async def _read_again(
        self, ledger: PartitionLedger, registration: Registration, begin: int, version: Counting | Collecting
    ) -> bool:
        """Add the rows from ``begin`` to the ledger's position; False when the partition has moved."""
        (topic, partition), stop = ledger.tp, ledger.position
        if begin >= stop:
            return self._is_current(ledger)
        log.info("catching up", model=registration.spec.model, version=registration.spec.version,
                 topic=topic, partition=partition, from_offset=begin, to_offset=stop)  # fmt: skip
        async with LogReader(self._settings, topic, [partition], {partition: begin}) as reader:
            oldest = min(reader.positions[partition], stop)
            if oldest > begin and isinstance(version, Counting):
                gap = OffsetRange(topic=topic, partition=partition, from_offset=begin, to_offset=oldest)
                version.leave_out(gap)
                self._report_gap(gap)
            async with aclosing(reader.read_to_end()) as batches:
                while self._is_current(ledger) and reader.positions[partition] < stop:
                    records = await anext(batches, None)
                    if records is None:
                        break
                    below = [record for record in records if record.offset < stop]
                    for run in cut(topic, partition, below, self._settings.run_max_records) if below else ():
                        self._add(ledger, registration, run, version)
                        await asyncio.sleep(0)
        return self._is_current(ledger)

    def _add(
        self, ledger: PartitionLedger, registration: Registration, run: Run, version: Counting | Collecting
    ) -> None:
        for found, rows in by_version(self._decode(ledger, run)):
            if name_of(found) == name_of(registration):
                add_rows(version, rows, run)

    def _decode(self, ledger: PartitionLedger, run: Run) -> DecodedRun:
        """Decode what can be decoded; what cannot became a dead letter when it was read first."""
        try:
            return self._decoder.decode(run, ledger.source)
        except (OperatorError, DamagedStoreError):
            raise
        except Exception:
            if len(run) == 1:
                return DecodedRun()
            decoded = DecodedRun()
            for record in run.records:
                decoded.rows += self._decode(ledger, Run(run.topic, run.partition, [record])).rows
            return decoded
