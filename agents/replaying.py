"""Recomputes the last step of a drift event from the records that it names: the event, its spec, its rows, the sum.

Everything is read from Kafka without a group. What is no longer there is said, not guessed: a step of which one record
is missing is not recomputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from aiokafka.structs import ConsumerRecord
from pydantic import ValidationError

from agents.errors import OperatorError
from agents.log_reader import LogReader
from agents.panes import GoneError, PaneCounter
from agents.registry import Registry
from agents.settings import Settings
from detector.profile import Vector
from detector.replay import Recomputed, replay_step
from schemas import codec
from schemas.model_spec import ModelSpec
from schemas.outbound import DriftEvent, Pane, Step

SHORTEST_PREFIX: Final = 8
"""Characters of an id that may stand for it."""


class Outcome(StrEnum):
    """What came of a replay."""

    EQUAL = "equal"
    """What could be recomputed is the same, to the last digit."""
    DIFFERENT = "different"
    IMPOSSIBLE = "impossible"
    """Nothing could be recomputed."""


@dataclass(frozen=True, slots=True)
class ReplayedPane:
    """A pane of the step, and how many of its rows there are now; None where records are gone."""

    pane: Pane
    rows: int | None


@dataclass(frozen=True, slots=True)
class Replay:
    """An event, and what its records give now."""

    event: DriftEvent
    step: Step | None
    panes: Sequence[ReplayedPane] = ()
    signals: Sequence[Recomputed] = ()
    notes: Sequence[str] = ()
    """What is no longer there, or could not be recomputed, in sentences."""

    @property
    def outcome(self) -> Outcome:
        """Whether all that could be recomputed is equal."""
        known = [each.is_equal for each in self.signals if each.is_equal is not None]
        if not known:
            return Outcome.IMPOSSIBLE
        return Outcome.EQUAL if all(known) else Outcome.DIFFERENT


async def replay(settings: Settings, event_id: str) -> Replay:
    """Find an event and recompute its last step.

    Parameters
    ----------
    event_id
        Its id, or the first characters of it.

    Raises
    ------
    OperatorError
        There is no such event, or the broker does not answer.
    """
    event = await find_event(settings, event_id)
    if not event.lineage.steps:
        return Replay(event, None, notes=["the event names no step"])
    step = event.lineage.steps[-1]
    if not event.lineage.evidence:
        return Replay(event, step, notes=["the event tells no evidence before its step: an older driftline decided it"])
    async with Registry(settings) as registry:
        spec = registry.find(event.model, event.version, event.lineage.spec_hash)
        if spec is None:
            return Replay(event, step, notes=[_withdrawn(event, settings)])
        async with PaneCounter(settings, registry, spec) as counter:
            return await _recompute(event, step, spec, counter)


def _withdrawn(event: DriftEvent, settings: Settings) -> str:
    name = f"the spec {event.lineage.spec_hash[:12]} of {event.model} {event.version}"
    return f"{name} is no longer on {settings.topic('models')}: it was withdrawn"


async def _recompute(event: DriftEvent, step: Step, spec: ModelSpec, counter: PaneCounter) -> Replay:
    parts: dict[int, Vector] = {}
    panes, notes = [], []
    for pane in step.panes:
        try:
            counted = await counter.count(pane, event.stage)
        except GoneError as gone:
            panes.append(ReplayedPane(pane, None))
            notes.append(str(gone))
            continue
        panes.append(ReplayedPane(pane, counter.rows(counted)))
        for phase, vector in counted.items():
            parts[phase] = parts.get(phase, np.zeros_like(vector)) + vector
        if panes[-1].rows != pane.rows:
            notes.append(f"{pane.topic}/{pane.partition} from {pane.from_offset} to {pane.to_offset} holds "
                         f"{panes[-1].rows} rows now, {pane.rows} were judged{counter.hint(pane)}")  # fmt: skip
    if notes:
        return Replay(event, step, panes, notes=notes)
    if spec.reference.frozen is not None and event.lineage.reference_hash not in (None, spec.reference.frozen.hash):
        notes.append("the reference in the spec is not the one that the event names")
    signals = replay_step(spec, event.lineage.evidence, parts)
    notes += [f"{each.told.signal} is not recomputed: {each.why_not}" for each in signals if each.why_not]
    return Replay(event, step, panes, signals, notes)


async def find_event(settings: Settings, event_id: str) -> DriftEvent:
    """Read ``drift-events`` until the event is found; what others put there is passed over.

    Raises
    ------
    OperatorError
        No event has this id, or several begin with it.
    """
    found: dict[str, DriftEvent] = {}
    seen = 0
    async with LogReader(settings, settings.topic("drift-events")) as reader:
        async for records in reader.read_to_end():
            seen += len(records)
            for record in records:
                event = _event(record, event_id)
                if event is not None:
                    found[event.id] = event
    if event_id in found:
        return found[event_id]
    if len(found) > 1:
        raise OperatorError(f"{len(found)} events begin with {event_id}: {', '.join(sorted(found)[:5])}")
    if not found:
        raise OperatorError(f"no event {event_id} among the {seen:,} records of {settings.topic('drift-events')}: "
                            "retention may have removed it")  # fmt: skip
    return next(iter(found.values()))


def _event(record: ConsumerRecord, event_id: str) -> DriftEvent | None:
    """The record's event if its id is the one, or begins so."""
    if event_id.encode() not in (record.value or b""):
        return None
    try:
        event = codec.decode(DriftEvent, record.value or b"")
    except ValidationError:
        return None
    begins = len(event_id) >= SHORTEST_PREFIX and event.id.startswith(event_id)
    return event if begins or event.id == event_id else None
