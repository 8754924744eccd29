"""An event that a real worker raised is recomputed from the records that it names, as long as they are there."""

from __future__ import annotations

import json
import os
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from typing import Any

import pytest
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from agents.errors import OperatorError
from agents.replaying import Outcome, replay
from agents.settings import Settings
from agents.topics import admin, ensure_topics
from agents.worker import running_worker
from schemas import codec
from schemas.outbound import DriftEvent, Tier
from tests.support.produce import produce
from tests.support.profiling import register
from tests.support.worker import EVERY_ROWS, drift_events, predictions, until, watched

STABLE = 1_000
ALL = 1_500


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


async def driftline(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Run the command line as a user does; return its exit code and what it printed."""
    variables = {
        "DRIFTLINE_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "DRIFTLINE_TOPIC_PREFIX": settings.topic_prefix,
    }
    process = await create_subprocess_exec(
        sys.executable, "-m", "agents.cli", *arguments, env=os.environ | variables, stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate()
    return process.returncode or 0, (output + errors).decode()


async def test_events_are_equal_until_their_records_are_deleted(settings: Settings) -> None:
    events = await raised(settings)
    for event in events:
        replayed = await replay(settings, event.id)
        assert (replayed.outcome, replayed.notes) == (Outcome.EQUAL, [])
        assert sum(pane.rows or 0 for pane in replayed.panes) == event.lineage.steps[-1].rows

    code, output = await driftline(settings, "replay", events[-1].id[:12], "--json")
    found: dict[str, Any] = json.loads(output)
    assert (code, found["outcome"], found["event"]) == (0, "equal", events[-1].id)
    assert found["signals"][0]["now"] == found["signals"][0]["told"]

    other = events[-1].model_copy(update={"id": "f" * 32, "lineage": tampered(events[-1])})
    await produce(settings, settings.topic("drift-events"), [(b"m", codec.encode(other))])
    code, output = await driftline(settings, "replay", other.id)
    assert (code, "different by" in output) == (1, True)

    pane = events[0].lineage.steps[-1].panes[0]
    await delete_below(settings, pane.topic, pane.partition, pane.from_offset + 1)
    code, output = await driftline(settings, "replay", events[0].id)
    assert code == 2
    assert f"retention has removed {pane.from_offset} to {pane.from_offset + 1}" in " ".join(output.split())


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
