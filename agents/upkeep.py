"""What is due for the model versions of a shard: follow the registry, freeze references, save, commit, report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from agents.errors import BrokerError, DeliveryError, PartitionsLostError
from agents.failpoints import Place, failpoint, failpoint_or_hang
from agents.status import StatusBoard
from agents.verdict_states import Shard, VerdictStates

if TYPE_CHECKING:
    from agents.app import DriftlineApp
    from agents.metrics import Metrics
    from agents.registry import Registry
    from detector.baseline import BaselineCollector

log = structlog.get_logger(__name__)


class Upkeep:
    """Does what is due.

    Parameters
    ----------
    app, registry, metrics
        Of the worker.
    states
        Where judges are saved.
    check
        Raises when the partitions are no longer ours; called after every await.
    """

    def __init__(
        self,
        app: DriftlineApp,
        registry: Registry,
        metrics: Metrics,
        states: VerdictStates,
        check: Callable[[], None],
    ) -> None:
        self._app = app
        self._registry = registry
        self._metrics = metrics
        self._states = states
        self._check = check
        self.board = StatusBoard(app.settings.topic("model-status"), metrics)

    def follow_registry(self, shard: Shard) -> None:
        """Act on what has changed of the versions that are here: frozen, refused or withdrawn specs."""
        for version in shard.cases.versions:
            registration = self._registry.lookup(*version)
            if registration is not shard.known.get(version):
                shard.known[version] = registration
                shard.cases.follow(registration, version)

    async def attend(self, shard: Shard) -> None:
        """Freeze references that are complete, save when it is time."""
        for collector in shard.cases.complete():
            await self._freeze(shard, collector)
        if time.monotonic() - shard.saved_at >= self._app.settings.save_interval_s:
            await self.save(shard)

    async def _freeze(self, shard: Shard, collector: BaselineCollector) -> None:
        """Make a reference of the rows collected and register it; whoever's comes first is the one in force."""
        spec = collector.spec
        version = (spec.model, spec.version)
        try:
            frozen = await asyncio.to_thread(collector.freeze)
            self._check()
            registration = await self._registry.publish(frozen)
        except (PartitionsLostError, DeliveryError, BrokerError):
            raise
        except Exception as error:  # of this model alone: the others are judged all the same
            log.exception("no reference can be made of the stream", model=spec.model, version=spec.version)
            shard.cases.stall(version, f"no reference can be made of the first rows: {error}")
            return
        log.info("the reference is complete, judging begins",
                 model=spec.model, version=spec.version, rows=collector.rows)  # fmt: skip
        self._check()
        shard.cases.follow(registration, version)

    async def save(self, shard: Shard) -> None:
        """Save what has changed, then commit, then let the board know."""
        began = time.monotonic()
        shard.saved_at = began
        cases, position = shard.cases, shard.position
        self._check()
        if cases.unsaved:
            await failpoint_or_hang(Place.BEFORE_SAVE)
            await self._states.write(shard, shard.generation, self._check)
            self._metrics.save_seconds.observe(time.monotonic() - began)
            failpoint(Place.STATE_SAVED)
        self._check()
        if position is not None and position != shard.committed:
            if not await self._app.consumer.commit_offsets({shard.tp: position}, shard.generation):
                self._metrics.commit_failures.inc()
                raise PartitionsLostError
            shard.committed = position
            failpoint(Place.VERDICTS_COMMITTED)
        self.board.offer(cases.statuses(cases.unreported))
        cases.unreported.clear()

    async def report(self, *, at_once: bool = False) -> None:
        """Send the statuses that are due; ``at_once`` knows no interval."""
        if records := self.board.due(time.monotonic(), at_once=at_once):
            self._check()
            await self._app.producer.deliver(records)
