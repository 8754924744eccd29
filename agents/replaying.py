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
from detector.profile import Profile, Vector
from detector.replay import CountedStep, Recomputed, replay_step, replay_steps
from schemas import codec
from schemas.model_spec import ModelSpec, Stage
from schemas.outbound import DriftEvent, Pane, Step

SHORTEST_PREFIX: Final = 8
"""Characters of an id that may stand for it."""
MOST_NOTES: Final = 10
"""Sentences about what is gone."""


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
    steps: int = 0
    """How many steps were recomputed."""

    @property
    def outcome(self) -> Outcome:
        """Whether all that could be recomputed is equal."""
        known = [each.is_equal for each in self.signals if each.is_equal is not None]
        if not known:
            return Outcome.IMPOSSIBLE
        return Outcome.EQUAL if all(known) else Outcome.DIFFERENT


async def replay(settings: Settings, event_id: str, *, full: bool = False) -> Replay:
    """Find an event and recompute its last step.

    Parameters
    ----------
    event_id
        Its id, or the first characters of it.
    full
        Recompute all steps since the first instead, as far as events of the version name their cuts.

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
            steps = await find_cuts(settings, event) if full else [step]
            return await _recompute(event, steps, spec, counter)


def _withdrawn(event: DriftEvent, settings: Settings) -> str:
    name = f"the spec {event.lineage.spec_hash[:12]} of {event.model} {event.version}"
    return f"{name} is no longer on {settings.topic('models')}: it was withdrawn"


def _unnamed(steps: Sequence[Step]) -> str | None:
    """Say which steps no event names, if there are any."""
    numbers = {step.number for step in steps}
    missing = [number for number in range(1, max(numbers) + 1) if number not in numbers]
    if not missing:
        return None
    return (f"{len(missing):,} of {max(numbers):,} steps are named by no event, the first is {missing[0]:,}: "
            "an event names the last 32, and without their cuts the way from the start is not known")  # fmt: skip


async def _recompute(event: DriftEvent, steps: Sequence[Step], spec: ModelSpec, counter: PaneCounter) -> Replay:
    last, is_full = event.lineage.steps[-1], len(steps) > 1
    if is_full and (unnamed := _unnamed(steps)) is not None:
        return Replay(event, last, notes=[unnamed])
    panes: list[ReplayedPane] = []
    notes: list[str] = []
    counted: list[CountedStep] = []
    for step in steps:
        vectors = [await _count(pane, event.stage, counter, panes, notes) for pane in step.panes]
        counted.append(CountedStep(step, vectors))
    shown = panes[-len(last.panes) :]
    if notes:
        return Replay(event, last, shown, notes=notes[:MOST_NOTES])
    if spec.reference.frozen is not None and event.lineage.reference_hash not in (None, spec.reference.frozen.hash):
        notes.append("the reference in the spec is not the one that the event names")
    told = event.lineage.evidence
    signals = replay_steps(spec, event.stage, told, counted) if is_full else replay_step(spec, told, _whole(counted[0]))
    notes += [f"{each.told.name} is not recomputed: {each.why_not}" for each in signals if each.why_not]
    return Replay(event, last, shown, signals, notes, steps=len(steps))


async def _count(
    pane: Pane, stage: Stage, counter: PaneCounter, panes: list[ReplayedPane], notes: list[str]
) -> Profile:
    """Count a pane; note what is found, and what is not."""
    try:
        counted = await counter.count(pane, stage)
    except GoneError as gone:
        panes.append(ReplayedPane(pane, None))
        notes.append(str(gone))
        return Profile()
    rows = counter.rows(counted)
    panes.append(ReplayedPane(pane, rows))
    if rows != pane.rows:
        notes.append(f"{pane.topic}/{pane.partition} from {pane.from_offset} to {pane.to_offset} holds "
                     f"{rows} rows now, {pane.rows} were judged{counter.hint(pane)}")  # fmt: skip
    return counted


def _whole(counted: CountedStep) -> dict[int, Vector]:
    """All panes of a step together, by phase."""
    parts: dict[int, Vector] = {}
    for rows in counted.panes:
        for (_, phase), vector in rows.parts.items():
            parts[phase] = parts.get(phase, np.zeros_like(vector)) + vector
    return parts


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
                event = _event(record) if event_id.encode() in (record.value or b"") else None
                if event is not None and _is_meant(event, event_id):
                    found[event.id] = event
    if event_id in found:
        return found[event_id]
    if len(found) > 1:
        raise OperatorError(f"{len(found)} events begin with {event_id}: {', '.join(sorted(found)[:5])}")
    if not found:
        raise OperatorError(f"no event {event_id} among the {seen:,} records of {settings.topic('drift-events')}: "
                            "retention may have removed it")  # fmt: skip
    return next(iter(found.values()))


def _is_meant(event: DriftEvent, event_id: str) -> bool:
    return event.id == event_id or (len(event_id) >= SHORTEST_PREFIX and event.id.startswith(event_id))


async def find_cuts(settings: Settings, event: DriftEvent) -> list[Step]:
    """Collect the steps up to the event's last one that events of its version, stage and spec name, by number."""
    found = {step.number: step for step in event.lineage.steps}
    last = max(found)
    async with LogReader(settings, settings.topic("drift-events")) as reader:
        async for records in reader.read_to_end():
            for record in records:
                other = _event(record) if event.lineage.spec_hash.encode() in (record.value or b"") else None
                if other is not None and _counted_for(other) == _counted_for(event):
                    found.update((step.number, step) for step in other.lineage.steps if step.number <= last)
    return [found[number] for number in sorted(found)]


def _counted_for(event: DriftEvent) -> tuple[str, ...]:
    return event.model, event.version, event.stage, event.lineage.spec_hash


def _event(record: ConsumerRecord) -> DriftEvent | None:
    try:
        return codec.decode(DriftEvent, record.value or b"")
    except ValidationError:
        return None
