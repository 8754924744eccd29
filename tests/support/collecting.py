"""An app with one agent that remembers which offsets it was given."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

from faust.types import TP

from agents.app import DriftlineApp, create_app
from agents.runs import Run
from agents.settings import Settings


class Collector:
    """Counts as a profiler does: each offset once, by keeping the next offset of every partition.

    Attributes
    ----------
    given
        Offsets in the order in which runs brought them, by partition: repeats included.
    counted
        Offsets that were new, by partition.
    """

    def __init__(self, settings: Settings, topic: str, on_run: Callable[[Run], None] | None = None) -> None:
        self.app: DriftlineApp = create_app(settings, run_topics=[topic])
        self.given: dict[int, list[int]] = defaultdict(list)
        self.counted: dict[int, list[int]] = defaultdict(list)
        self.values: list[bytes | None] = []
        self.longest = 0
        self._topic = topic
        self._arrived = asyncio.Event()

        async def collect(runs: object) -> None:
            async for event in runs.events():  # type: ignore[attr-defined]
                run: Run = event.value
                self.given[run.partition] += [record.offset for record in run.records]
                self.longest = max(self.longest, len(run))
                counted = self.counted[run.partition]
                if new := run.since(counted[-1] + 1 if counted else 0):
                    counted += [record.offset for record in new.records]
                    self.values += [record.value for record in new.records]
                if on_run is not None:
                    on_run(run)
                self._arrived.set()

        self.app.agent(self.app.input_topic(topic), name="collect")(collect)

    @property
    def total(self) -> int:
        """How many records were counted."""
        return sum(map(len, self.counted.values()))

    async def until(self, count: int, within_s: float = 60.0) -> None:
        """Wait until so many records were counted."""
        async with asyncio.timeout(within_s):
            while self.total < count:
                self._arrived.clear()
                await self._arrived.wait()

    async def commit(self) -> bool:
        """Commit all that was counted."""
        offsets = {TP(self._topic, partition): seen[-1] + 1 for partition, seen in self.counted.items() if seen}
        return await self.app.consumer.commit_offsets(offsets, self.app.consumer_generation_id)
