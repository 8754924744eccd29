"""States of judges on the compacted ``verdicts`` topic, one record for each model version.

Key ``model/version@generation``; value: how far along its partition of ``profiles`` the writer had come (8 bytes, big
endian), then the judge's state. Of several generations' records the furthest counts.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog
from faust.types import TP
from pydantic import ValidationError

from agents.caseload import Caseload, Version
from agents.log_reader import LogReader
from agents.seals import NewerFormatError
from agents.statelog import Deliverer, Entry, Saved, StateKey, StateLog, ranked, read_back
from detector.state import NewerStateError, StateError
from schemas.model_spec import ModelSpec
from schemas.outbound import ModelStatus
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from agents.metrics import Metrics
    from agents.registry import Registration, Registry
    from agents.settings import Settings

_POSITION_BYTES: Final = 8

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Damage:
    """Why a version's newest state could not be read, and what came in its place."""

    why: str
    has_older: bool

    def told(self, lost: Iterable[str]) -> str:
        """Tell a person, with the ids of the incidents whose history is lost."""
        since = "an older one and the totals since" if self.has_older else "the totals from their start"
        incidents = sorted(lost)
        history = (
            f"the history of incident {', '.join(incidents)} is lost, a drift that lasts opens another"
            if incidents
            else "no open incident was lost"
        )
        return f"its saved state was damaged ({self.why}) and is rebuilt from {since}: {history}"


@dataclass(slots=True)
class Shard:
    """One partition of ``profiles``, as this worker has it in one generation."""

    tp: TP
    generation: int = 0
    cases: Caseload = field(default_factory=Caseload)
    position: int | None = None
    """Offset of the next record to take; None before the first one."""
    committed: int | None = None
    """What this worker has committed."""
    restored_from: int = 0
    """How far the states that were read back had come."""
    stale: dict[str, list[StateKey]] = field(default_factory=lambda: defaultdict(list))
    """States of earlier owners, by base key: removed once our own is acknowledged."""
    saved_at: float = -math.inf
    """Seconds, monotonic."""
    known: dict[Version, Registration | None] = field(default_factory=dict)
    """What the cases have been told of the registry."""
    damaged: dict[Version, Damage] = field(default_factory=dict)
    """Versions whose newest state was damaged: what they had judged since must be judged again."""

    @property
    def reached(self) -> int:
        """How far the judges have come: what a state says of itself when it is saved."""
        return max(self.position or 0, self.restored_from)


class VerdictStates:
    """Reads and writes the states.

    Parameters
    ----------
    settings
        Of the worker.
    deliverer
        The app's producer.
    metrics
        Where sizes are shown.
    """

    def __init__(self, settings: Settings, deliverer: Deliverer, metrics: Metrics) -> None:
        self._settings = settings
        self._log = StateLog(settings.topic("verdicts"), TOPICS["verdicts"].max_message_bytes, deliverer)
        self._metrics = metrics

    async def restore(self, shards: Iterable[Shard], registry: Registry) -> None:
        """Read back what earlier owners saved of these partitions."""
        by_partition = {shard.tp.partition: shard for shard in shards}
        if not by_partition:
            return
        saved, _ = await read_back(self._settings, self._log.topic, partitions=by_partition, metrics=self._metrics)
        for shard in by_partition.values():
            mine = [record for record in saved if record.partition == shard.tp.partition]
            for base, records in ranked(mine, _position).items():
                model, _, version = base.partition("/")
                registration = registry.lookup(model, version)
                if registration is not None and registration.layout is not None:
                    self._take_up(shard, registration.spec, records)
                    await asyncio.sleep(0)
            for record in mine:
                shard.stale[record.key.base].append(record.key)

    def _take_up(self, shard: Shard, spec: ModelSpec, records: Sequence[Saved]) -> None:
        """Restore a judge from the furthest state that can be read; without any it begins anew."""
        faults = [record.damage for record in records if record.damage is not None]
        restored = False
        for record in records:
            if _position(record) < 0:
                continue
            try:
                shard.cases.restore(spec, state_of(record))
            except NewerStateError as error:
                raise NewerFormatError(f"the saved state of {spec.model} {spec.version}", error) from None
            except StateError as error:
                log.error("a saved state cannot be read", topic=self._log.topic, partition=record.partition,
                          key=record.key.encode().decode(), why=str(error))  # fmt: skip
                self._metrics.damaged_records.labels(topic=self._log.topic).inc()
                faults.append(str(error))
                continue
            shard.restored_from = max(shard.restored_from, _position(record))
            restored = True
            break
        if faults and not restored:
            shard.cases.begin(spec)
        if faults:
            shard.damaged[spec.model, spec.version] = Damage(faults[0], restored)

    async def write(self, shard: Shard, generation: int, check: Callable[[], None]) -> None:
        """Save what has changed and remove what it replaces; ``check`` raises when the partition is no longer ours.

        Raises
        ------
        DeliveryError
            A state was not acknowledged: the worker must end.
        """
        prefix = shard.reached.to_bytes(_POSITION_BYTES, "big")
        entries: dict[Version, Entry] = {}
        for version, state in shard.cases.states():
            entries[version] = Entry(StateKey("/".join(version), generation), shard.tp.partition, prefix + state)
            self._metrics.state_bytes.labels(*version).set(len(state))
            await asyncio.sleep(0)
        check()
        refused = {entry.key for entry in await self._log.write(list(entries.values()))}
        shard.cases.unsaved.clear()
        check()
        stale: list[Entry] = []
        for version, entry in entries.items():
            too_large = entry.key in refused
            note = "its state is too large to be saved: watch fewer signals or phases" if too_large else None
            shard.cases.note(version, "size", note)
            old = [] if too_large else shard.stale.pop(entry.key.base, [])
            stale += [Entry.tombstone(key, shard.tp.partition) for key in old if key != entry.key]
        await self._log.write(stale)


async def open_incidents(settings: Settings, versions: Collection[Version]) -> dict[Version, frozenset[str]]:
    """Tell from the last statuses which incidents of these versions were open."""
    last: dict[tuple[str, ...], str | None] = {}
    async with LogReader(settings, settings.topic("model-status")) as reader:
        async for records in reader.read_to_end():
            for record in records:
                subject = tuple((record.key or b"").decode(errors="replace").split("/"))
                if subject[:2] in versions and record.value is not None:
                    with suppress(ValidationError):
                        last[subject] = ModelStatus.model_validate_json(record.value).incident_id
    return {
        version: frozenset(id_ for subject, id_ in last.items() if id_ is not None and subject[:2] == version)
        for version in versions
    }


def state_of(saved: Saved) -> bytes:
    """The judge's own state in a record."""
    return saved.value[_POSITION_BYTES:]


def _position(saved: Saved) -> int:
    """How far a state had come; -1 for what is too short to be one."""
    if len(saved.value) <= _POSITION_BYTES:
        return -1
    return int.from_bytes(saved.value[:_POSITION_BYTES], "big")
