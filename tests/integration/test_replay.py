"""An event that a real worker raised is recomputed from the records that it names, as long as they are there."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from agents.errors import OperatorError
from agents.panes import JOIN_HINT
from agents.replaying import Outcome, replay
from agents.settings import Settings
from agents.topics import admin, ensure_topics
from agents.worker import running_worker
from schemas import codec
from schemas.model_spec import Stage
from schemas.outbound import DriftEvent, Family, Tier
from schemas.quality import QualitySpec
from tests.support.cli import driftline
from tests.support.outcomes import labelled, outcome, prediction
from tests.support.produce import produce
from tests.support.profiling import register
from tests.support.worker import EVERY_ROWS, committed, drift_events, predictions, until, watched

STABLE = 800
ALL = 1_400
LABELS = 1_500


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"publish_every_rows": EVERY_ROWS, "save_interval_s": 0.2, "web_port": 0})


async def raised(settings: Settings) -> list[DriftEvent]:
    """Let a worker judge a stream that shifts, in two partitions; return its events."""

    async def significant() -> bool:
        return any(event.tier is Tier.SIGNIFICANT for event in await drift_events(settings))

    stable, shifted = predictions(range(STABLE)), predictions(range(STABLE, ALL), shifted=True)
    async with running_worker(settings):
        await register(settings, watched())
        for partition in (0, 1):
            records = stable[partition::2] + shifted[partition::2]
            await produce(settings, settings.topic("predictions"), records, partition)
        await until(significant)
    return await drift_events(settings)


async def test_events_are_equal_until_their_records_are_deleted(settings: Settings) -> None:
    events = await raised(settings)
    for event in events:
        replayed = await replay(settings, event.id)
        assert (replayed.outcome, replayed.notes) == (Outcome.EQUAL, [])
        assert sum(pane.rows or 0 for pane in replayed.panes) == event.lineage.steps[-1].rows

    replayed = await replay(settings, events[0].id, full=True)
    assert (replayed.outcome, replayed.steps) == (Outcome.EQUAL, events[0].lineage.steps[-1].number)

    code, output = await driftline(settings, "replay", events[-1].id[:12], "--json")
    found: dict[str, Any] = json.loads(output)
    assert (code, found["outcome"], found["event"]) == (0, "equal", events[-1].id)
    assert found["signals"][0]["now"] == found["signals"][0]["told"]

    other = events[-1].model_copy(update={"id": "f" * 32, "lineage": tampered(events[-1])})
    await produce(settings, settings.topic("drift-events"), [(b"m", codec.encode(other))])
    code, output = await driftline(settings, "replay", other.id)
    assert (code, "different by" in output) == (1, True)

    lineage = events[0].lineage.model_copy(update={"steps": events[0].lineage.steps[-3:]})
    alone = events[0].model_copy(update={"id": "e" * 32, "stage": Stage.SHADOW, "lineage": lineage})
    await produce(settings, settings.topic("drift-events"), [(b"m", codec.encode(alone))])
    code, output = await driftline(settings, "replay", alone.id, "--full")
    assert (code, f"{alone.lineage.steps[0].number - 1} of" in output, "named by no event" in output) == (2, True, True)

    pane = events[0].lineage.steps[-1].panes[0]
    await delete_below(settings, pane.topic, pane.partition, pane.from_offset + 1)
    code, output = await driftline(settings, "replay", events[0].id)
    assert code == 2
    assert f"retention has removed {pane.from_offset} to {pane.from_offset + 1}" in output


async def test_labels_are_joined_again_until_their_predictions_are_gone(settings: Settings) -> None:
    async def incident() -> bool:
        return await labels_drifted(settings) != []

    async def forwarded() -> bool:
        return (await committed(settings, "predictions")).get(0) == LABELS

    spec = labelled(limits={"accuracy": 0.9})
    async with running_worker(settings.model_copy(update={"publish_every_rows": None, "publish_interval_s": 0.1})):
        await register(settings, spec)
        await produce(settings, settings.topic("predictions"), map(prediction, range(LABELS)))
        await until(forwarded)
        for start in range(0, LABELS, 100):
            await produce(settings, settings.topic("outcomes"), map(outcome, range(start, start + 100)))
            await asyncio.sleep(0.05)
        await until(incident)
    event = (await labels_drifted(settings))[-1]
    replayed = await replay(settings, event.id)
    assert (replayed.outcome, replayed.notes) == (Outcome.EQUAL, [])
    assert settings.topic("joins") in {pane.pane.topic for pane in replayed.panes}

    pane = next(each.pane for each in replayed.panes if each.pane.topic == settings.topic("joins"))
    await delete_below(settings, pane.topic, pane.partition, pane.from_offset)
    replayed = await replay(settings, event.id)
    assert replayed.outcome is Outcome.IMPOSSIBLE
    assert JOIN_HINT in replayed.notes[0]


async def test_numbers_that_froze_are_recomputed_with_the_rows_before_them(settings: Settings) -> None:
    async def frozen() -> list[DriftEvent]:
        return [event for event in await drift_events(settings) if event.family is Family.QUALITY]

    async def fault() -> bool:
        return await frozen() != []

    rows = [*range(STABLE), *[5] * 600]
    async with running_worker(settings):
        await register(settings, watched(quality=QualitySpec()))
        await produce(settings, settings.topic("predictions"), predictions(rows))
        await until(fault)
    event = (await frozen())[0]
    replayed = await replay(settings, event.id)
    assert (replayed.outcome, replayed.notes) == (Outcome.EQUAL, [])
    assert {each.told.signal for each in replayed.signals} & {"quality:frozen:x", "quality:duplicate"}


async def labels_drifted(settings: Settings) -> list[DriftEvent]:
    """Events that labels have a part in."""
    found = await drift_events(settings)
    return [event for event in found if any(each.signal.startswith(("performance", "limit")) for each in event.signals)]


def tampered(event: DriftEvent) -> Any:
    """The event's lineage, with one score another."""
    first, *rest = event.lineage.evidence
    changed = first.model_copy(update={"score": first.score + 1e-9})
    return event.lineage.model_copy(update={"evidence": (changed, *rest)})


async def delete_below(settings: Settings, topic: str, partition: int, offset: int) -> None:
    async with admin(settings) as client:
        await client.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=offset)})


async def test_an_event_that_nobody_knows_is_said_to_be_missing(settings: Settings) -> None:
    await ensure_topics(settings)
    with pytest.raises(OperatorError, match="no event 0123456789 among the 0 records"):
        await replay(settings, "0123456789")
