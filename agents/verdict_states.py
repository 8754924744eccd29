"""States of judges on the compacted ``verdicts`` topic, one record for each model version.

Key ``model/version@generation``; value: how far along its partition of ``profiles`` the writer had come (8 bytes, big
endian), then the judge's state. Of several generations' records the furthest counts.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from faust.types import TP

from agents.caseload import Caseload, Version
from agents.statelog import Deliverer, Entry, Saved, StateKey, StateLog, furthest, read_back
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from agents.metrics import Metrics
    from agents.registry import Registration, Registry
    from agents.settings import Settings

_POSITION_BYTES: Final = 8


@dataclass(slots=True)
class Shard:
    """One partition of ``profiles``, as this worker has it in one generation."""

    tp: TP
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
        saved, _ = await read_back(self._settings, self._log.topic, partitions=by_partition)
        for shard in by_partition.values():
            mine = [record for record in saved if record.partition == shard.tp.partition]
            for base, best in furthest(mine, _split)[0].items():
                model, _, version = base.partition("/")
                registration = registry.lookup(model, version)
                if registration is not None and registration.layout is not None:
                    shard.cases.restore(registration.spec, best.state)
                    shard.restored_from = max(shard.restored_from, _position(best.record))
                    await asyncio.sleep(0)
            for record in mine:
                shard.stale[record.key.base].append(record.key)

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


def _split(saved: Saved) -> tuple[bytes, tuple[int, ...]] | None:
    """A judge's state, and how far it had come; None for what is too short to be one."""
    if len(saved.value) <= _POSITION_BYTES:
        return None
    return saved.value[_POSITION_BYTES:], (_position(saved),)


def _position(saved: Saved) -> int:
    return int.from_bytes(saved.value[:_POSITION_BYTES], "big")
