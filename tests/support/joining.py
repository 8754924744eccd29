"""A joiner without a broker: what is forwarded becomes a log, and the log is played to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from aiokafka.structs import ConsumerRecord
from faust.types import TP

from agents.formats import RunDecoder
from agents.joins.forwarding import Forwarder
from agents.joins.joiner import Joiner
from agents.metrics import Metrics
from agents.producer import Outgoing
from agents.registry import Registration
from agents.runs import Run
from agents.settings import Settings
from detector.layout import Layout
from detector.rows import Source
from detector.totals import RunningTotal
from schemas.model_spec import ModelSpec
from tests.support.decoding import APPENDED_MS, Limits, record

TOPIC = "joins"


class Known:
    """A registry that knows these specs."""

    def __init__(self, *specs: ModelSpec) -> None:
        self.revision = 0
        self._known = {(each.model, each.version): Registration(each, _layout(each), 0, each.hash) for each in specs}

    def lookup(self, model: str, version: str) -> Registration | None:
        return self._known.get((model, version))

    def versions(self, model: str) -> list[Registration]:
        return [each for (of, _), each in self._known.items() if of == model]


def _layout(spec: ModelSpec) -> Layout | None:
    return None if spec.reference.frozen is None else Layout(spec)


class JoinLog:
    """One partition of the topic of joins."""

    def __init__(self, *specs: ModelSpec) -> None:
        self.known = Known(*specs)
        self.records: list[ConsumerRecord] = []
        self.now_ms = APPENDED_MS
        self._decoder = RunDecoder(self.known.lookup, Limits(), self.known.versions)
        self._forwarder = Forwarder(TOPIC, self, Metrics())

    async def deliver(self, records: Iterable[Outgoing], timeout_s: float | None = None) -> None:
        for each in records:
            value = each.value or b""
            at = ConsumerRecord(TOPIC, 0, len(self.records), self.now_ms, 0, None, value, None, 0, len(value), ())
            self.records.append(at)

    async def forward(self, values: Sequence[bytes | None], source: Source) -> None:
        """Decode events and forward what must be joined, in one record."""
        run = Run("input", 0, [record(value, offset) for offset, value in enumerate(values)])
        await self._forwarder.follow(1)
        self._forwarder.add(self._decoder.decode(run, source).forwards)
        await self._forwarder.deliver()


def joiner_in(folder: Path, log: JoinLog) -> Joiner:
    """A joiner whose stores are in this folder."""
    return Joiner(Settings(state_dir=folder, topic_prefix=""), log.known, Metrics())  # type: ignore[arg-type]


async def play(joiner: Joiner, log: JoinLog, total: RunningTotal, start: int = 0, stop: int | None = None) -> None:
    """Give the records to the joiner one by one, and count what comes of them."""
    await joiner.prepare(TP(TOPIC, 0), 0, lambda: True)
    for each in log.records[start:stop]:
        decoded = joiner.decode(Run(TOPIC, 0, [each]))
        for registration, rows in decoded.rows:
            if registration.layout is not None and registration.spec_hash == total.spec_hash:
                total.add(rows, each.offset + 1)
        if not decoded.rows:
            total.next_offset = max(total.next_offset, each.offset + 1)
