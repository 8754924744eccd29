"""States of responses on the compacted ``response-states`` topic: each model's, the desk's, and the notices.

Key ``model@generation``; value: how far along its partition of ``response-inputs`` the state had come (8 bytes, big
endian), then the state. Of several generations' records the furthest counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from faust.types import TP

from agents.seals import NewerFormatError
from agents.statelog import Deliverer, Entry, Saved, StateKey, StateLog, ranked, read_back
from detector.responses.partition import PartitionResponses
from detector.state import NewerStateError, StateError, pack, unpack
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from agents.metrics import Metrics
    from agents.settings import Settings

_POSITION_BYTES: Final = 8


@dataclass(slots=True)
class ResponseShard:
    """One partition of the log, as this worker has it in one generation."""

    tp: TP
    generation: int
    responses: PartitionResponses = field(default_factory=PartitionResponses)
    stale: dict[str, list[StateKey]] = field(default_factory=lambda: defaultdict(list))
    """States of earlier owners, by base key: removed once our own is acknowledged."""
    damaged: list[str] = field(default_factory=list)
    """Base keys whose newest state could not be read: what they had taken since must be taken again."""
    position: int = 0
    """Offset of the next record to take."""


class ResponseStates:
    """Reads and writes the states.

    Parameters
    ----------
    settings
        Of the worker.
    deliverer
        The app's producer.
    metrics
        Where damaged states are counted.
    """

    def __init__(self, settings: Settings, deliverer: Deliverer, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._log = StateLog(settings.topic("response-states"), TOPICS["response-states"].max_message_bytes, deliverer)

    async def restore(self, tp: TP, generation: int) -> ResponseShard:
        """Read back what earlier owners saved of a partition."""
        shard = ResponseShard(tp, generation)
        saved, _ = await read_back(self._settings, self._log.topic, partitions=[tp.partition], metrics=self._metrics)
        found: dict[str, dict[str, Any]] = {}
        for base, records in ranked(saved, _position).items():
            for record in records:
                state = _state(record)
                if (record.damage is not None or state is None) and base not in shard.damaged:
                    shard.damaged.append(base)
                if state is not None:
                    found.setdefault(base, state)
        shard.responses.restore(found)
        for record in saved:
            shard.stale[record.key.base].append(record.key)
        return shard

    async def write(self, shard: ResponseShard, is_ours: Callable[[], bool]) -> None:
        """Save what has changed and remove what it replaces.

        Raises
        ------
        DeliveryError
            A state was not acknowledged: the worker must end.
        """
        changed = sorted(shard.responses.changed)
        entries = [
            Entry(StateKey(key, shard.generation), shard.tp.partition, reached.to_bytes(_POSITION_BYTES) + pack(state))
            for key, reached, state in shard.responses.states(changed)
        ]
        await self._log.write(entries)
        shard.responses.changed.difference_update(changed)
        if not is_ours():
            return
        old = [(entry.key, key) for entry in entries for key in shard.stale.pop(entry.key.base, [])]
        await self._log.write([Entry.tombstone(key, shard.tp.partition) for ours, key in old if key != ours])


def _position(saved: Saved) -> int:
    """How far a state had come; -1 for what is too short to be one."""
    return int.from_bytes(saved.value[:_POSITION_BYTES]) if len(saved.value) > _POSITION_BYTES else -1


def _state(saved: Saved) -> dict[str, Any] | None:
    """The state in a record; None where there is none that can be read."""
    if _position(saved) < 0:
        return None
    try:
        return unpack(saved.value[_POSITION_BYTES:])
    except NewerStateError as error:
        raise NewerFormatError(f"the saved responses of {saved.key.base}", error) from None
    except StateError:
        return None
