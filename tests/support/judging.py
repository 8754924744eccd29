"""The verdict agent alone on a broker, and the totals of a model that drifts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agents.app import DriftlineApp, create_app, running
from agents.metrics import Metrics
from agents.registry import Registry
from agents.settings import Settings
from agents.statelog import partition_for
from agents.topics import ensure_topics
from agents.verdicts import Verdicts
from tests.support.profiling import register
from tests.support.stream import drifting_totals, watched_model
from tests.support.worker import committed, until

SPEC = watched_model()
TOTALS = drifting_totals(SPEC, seed=1)
PARTITION = partition_for(SPEC.model, 2)


@dataclass(frozen=True, slots=True)
class Running:
    app: DriftlineApp
    registry: Registry
    metrics: Metrics


async def prepared(settings: Settings) -> Settings:
    """Make the topics, and register the model of the totals."""
    settings = settings.model_copy(update={"save_interval_s": 0.1})
    await ensure_topics(settings)
    await register(settings, SPEC)
    return settings


@asynccontextmanager
async def judging(settings: Settings) -> AsyncIterator[Running]:
    metrics = Metrics()
    app = create_app(settings, run_topics=[settings.topic("profiles")])
    async with Registry(settings, metrics) as registry:
        Verdicts(app, registry, metrics).attach()
        async with running(app):
            yield Running(app, registry, metrics)


async def until_taken(settings: Settings, records: int) -> None:
    """Wait until so many records of the model's partition are committed."""

    async def taken() -> bool:
        return (await committed(settings, "profiles")).get(PARTITION, 0) >= records

    await until(taken)
