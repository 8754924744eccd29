"""A whole worker, what it is fed, and what it has said."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import numpy as np
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import ConsumerRecord
from pydantic import BaseModel

from agents.settings import Settings
from agents.topics import admin
from schemas.model_spec import ModelSpec
from schemas.outbound import DeadLetter, DriftEvent, ModelState, ModelStatus
from schemas.responses import RetrainRequest
from tests.support.data import MONDAY, category, frozen_of, numbers, spec_of
from tests.support.profiling import PLANS, WIDTH, read_all

AnyModel = TypeVar("AnyModel", bound=BaseModel)

EVERY_ROWS = 40
"""Tests publish after so many rows, so that the steps are the same in every run."""
STABLE_ROWS = 1_200
"""Enough for a model to be judged: its burstiness is measured on the first steps."""


_ROWS: Final = 4_000
_X: Final = np.random.default_rng(7).integers(0, WIDTH, _ROWS)
_PLAN: Final = np.random.default_rng(8).integers(0, len(PLANS), _ROWS)


def watched(model: str = "m", version: str = "1", **fields: Any) -> ModelSpec:
    """Return the spec of a model whose reference is made of the rows from 2,000 on, which no test sends."""
    spec = spec_of(*numbers("x"), category("plan"), model=model, version=version, **fields)
    plans = [PLANS[plan] for plan in _PLAN[2_000:]]
    return frozen_of(spec, {"feature:x": _X[2_000:], "feature:plan": plans})


def prediction(number: int, *, shifted: bool = False, model: str = "m", version: str = "1", **fields: Any) -> bytes:
    """Return row ``number``, so many seconds after Monday; shifted, ``x`` is in the upper half of what it was."""
    x = int(_X[number])
    content = {
        "model": model,
        "version": version,
        "time": datetime.fromtimestamp(MONDAY + number, UTC).isoformat(),
        "features": {"x": (WIDTH + x) // 2 if shifted else x, "plan": PLANS[_PLAN[number]]},
        "prediction": 1,
    }
    return json.dumps(content | fields).encode()


def predictions(numbers: Iterable[int], **fields: Any) -> list[tuple[bytes | None, bytes | None]]:
    """Records to produce, one row each."""
    return [(None, prediction(number, **fields)) for number in numbers]


async def drift_events(settings: Settings) -> list[DriftEvent]:
    """All drift events."""
    return await _events(settings, "drift-events", DriftEvent)


async def retrain_requests(settings: Settings) -> list[RetrainRequest]:
    """All retrain requests."""
    return await _events(settings, "retrain-requests", RetrainRequest)


async def dead_letters(settings: Settings) -> list[DeadLetter]:
    """All dead letters."""
    return await _events(settings, "dead-letters", DeadLetter)


async def statuses(settings: Settings) -> dict[str, ModelStatus]:
    """The last status of each model version and stage, by key."""
    records = await read_all(settings, "model-status")
    return {
        record.key.decode(): ModelStatus.model_validate_json(record.value)
        for record in records
        if record.key is not None and record.value is not None
    }


async def committed(settings: Settings, topic: str) -> dict[int, int]:
    """What the broker says that the group has committed, by partition."""
    async with admin(settings) as client:
        try:
            offsets = await client.list_consumer_group_offsets(settings.group)
        except GroupCoordinatorNotAvailableError:  # a broker of a moment's age
            return {}
    name = settings.topic(topic)
    return {tp.partition: at.offset for tp, at in offsets.items() if tp.topic == name and at.offset >= 0}


async def _events(settings: Settings, topic: str, kind: type[AnyModel]) -> list[AnyModel]:
    records: list[ConsumerRecord] = await read_all(settings, topic)
    return [kind.model_validate_json(record.value) for record in records if record.value is not None]


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 60.0) -> None:
    """Return as soon as the broker tells what is waited for; raise TimeoutError when it does not in time."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - it is in the broker, which sets no event
            await asyncio.sleep(0.1)


async def until_judged(settings: Settings, rows: int, key: str = "m/1/production") -> None:
    """Wait until the status of a version and stage says that so many rows were judged."""

    async def judged() -> bool:
        status = (await statuses(settings)).get(key)
        return status is not None and status.state is ModelState.WATCHING and status.rows >= rows

    await until(judged)


async def start_worker(settings: Settings, **environment: str) -> Process:
    """Start a worker as a process of its own, with these settings."""
    chosen = settings.model_dump(mode="json", exclude_defaults=True)
    variables = {f"DRIFTLINE_{name.upper()}": str(value) for name, value in chosen.items()}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
    return await create_subprocess_exec(
        sys.executable, "-m", "agents.worker", env=clean | variables | environment, stdout=PIPE, stderr=PIPE
    )
