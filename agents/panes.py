"""Counts the rows of a pane again: reads its offsets from Kafka, decodes them with its spec, and adds them up.

It is the way of the profiling agents: the same decoder, the same join, the same running total. Only the spec is pinned:
the one that an event names, whatever has been registered since.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Final, Self, cast

from faust.types import TP

from agents.formats.native import RunDecoder
from agents.joins.joiner import Joiner, pieces
from agents.log_reader import LogReader
from agents.metrics import Metrics
from agents.partition_totals import by_version, name_of
from agents.profiling import JOINS, STREAMS
from agents.registry import Registration, Registry
from agents.runs import Run
from agents.settings import Settings
from detector.layout import Layout
from detector.profile import Profile
from detector.totals import RunningTotal
from schemas.model_spec import ModelSpec, Stage
from schemas.outbound import Pane

JOIN_HINT: Final = ", since what labels were joined with came before the oldest record that is left"

LOOK_BACK: Final = 2_000
"""Records before a pane that are read for checks of repeats: they remember a hundred rows or so of their version."""


class GoneError(Exception):
    """Records of a pane are not there any more: one sentence that says which."""


class PinnedRegistry:
    """The registry as it was for one model version: its spec is in force, whatever has been registered since."""

    def __init__(self, registry: Registry, spec: ModelSpec) -> None:
        layout = Layout(spec)
        self._registry = registry
        self.pinned = Registration(spec, layout, offset=0, declared_hash=layout.spec_hash)

    @property
    def revision(self) -> int:
        """Of the registry itself."""
        return self._registry.revision

    def lookup(self, model: str, version: str) -> Registration | None:
        """Return what is in force for a model version."""
        is_pinned = (model, version) == name_of(self.pinned)
        return self.pinned if is_pinned else self._registry.lookup(model, version)

    def versions(self, model: str) -> Sequence[Registration]:
        """Return what is in force for all versions of a model."""
        others = [each for each in self._registry.versions(model) if name_of(each) != name_of(self.pinned)]
        return (*others, self.pinned) if model == self.pinned.spec.model else others


class PaneCounter:
    """Counts panes of one model version.

    Parameters
    ----------
    settings
        Where the broker is; topics and the largest record must be those of the worker.
    registry
        Read to its end.
    spec
        In whose layout is counted.
    """

    def __init__(self, settings: Settings, registry: Registry, spec: ModelSpec) -> None:
        self._settings = settings
        self._registry = PinnedRegistry(registry, spec)
        self.layout = cast(Layout, self._registry.pinned.layout)
        self._sources = {settings.topic(name): source for name, source in STREAMS.items()}
        self._decoder = RunDecoder(self._registry.lookup, settings, self._registry.versions)
        self._stack = AsyncExitStack()
        self._oldest: dict[TP, int] = {}
        """Where the logs of joins begin that were read."""

    async def __aenter__(self) -> Self:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="driftline-replay-")))
        settings = self._settings.model_copy(update={"state_dir": folder})
        self._joiner = Joiner(settings, cast(Registry, self._registry), Metrics())
        self._stack.callback(self._joiner.close)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def count(self, pane: Pane, stage: Stage) -> Profile:
        """Count the rows of a pane that were made in a stage.

        Raises
        ------
        GoneError
            The topic or some of the offsets are not there any more.
        """
        source = self._sources.get(pane.topic)
        if source is None:
            raise GoneError(f"{pane.topic} is not among the topics of these settings: is DRIFTLINE_TOPIC_PREFIX right?")
        tp, at = TP(pane.topic, pane.partition), f"{pane.topic}/{pane.partition}"
        start = self._start(pane)
        total, before = RunningTotal(self.layout, *tp, started_at=start), None
        async with LogReader(self._settings, pane.topic, [pane.partition], {pane.partition: start}) as reader:
            begins = reader.positions[pane.partition]
            if begins > pane.from_offset:
                raise GoneError(f"{at} begins at offset {begins} now: retention has removed "
                                f"{pane.from_offset} to {min(begins, pane.to_offset)}")  # fmt: skip
            if begins < start:
                raise GoneError(f"{at} ends before offset {start}: the topic was made anew")
            if pane.topic == self._joiner.topic:
                await self._prepare(tp, pane.from_offset)
            async with aclosing(reader.read_to_end()) as batches:
                async for records in batches:
                    early = [record for record in records if record.offset < pane.from_offset]
                    below = [record for record in records if pane.from_offset <= record.offset < pane.to_offset]
                    if early:
                        self._add(Run(*tp, early), total)
                    if below:
                        before = total.profile.copy() if before is None else before
                        self._add(Run(*tp, below), total)
                    if reader.positions[pane.partition] >= pane.to_offset:
                        break
            if (end := reader.positions[pane.partition]) < pane.to_offset:
                raise GoneError(f"{at} ends at offset {end}, before {pane.to_offset}: the topic was made anew")
        counted = Profile() if before is None else total.profile.subtract(before)
        return Profile(*({key: each for key, each in of.items() if key[0] is stage}
                         for of in (counted.parts, counted.segments)))  # fmt: skip

    def _start(self, pane: Pane) -> int:
        """Where reading begins: some records before, where rows are compared with those that came before them."""
        looks_back = bool(self.layout.begin()) and pane.topic != self._joiner.topic
        return max(0, pane.from_offset - LOOK_BACK) if looks_back else pane.from_offset

    def _add(self, run: Run, total: RunningTotal) -> None:
        if run.topic == self._joiner.topic:
            for piece in pieces(run):
                self._count(piece, total)
        else:
            self._count(run, total)

    def _count(self, run: Run, total: RunningTotal) -> None:
        is_join = run.topic == self._joiner.topic
        decoded = self._joiner.decode(run) if is_join else self._decoder.decode(run, self._sources[run.topic])
        for registration, rows in by_version(decoded):
            if registration is self._registry.pinned:
                total.add(rows, run.next_offset)

    async def _prepare(self, tp: TP, position: int) -> None:
        """Fill the join with what came before: labels find predictions that may be weeks older."""
        async with LogReader(self._settings, tp.topic, [tp.partition]) as reader:
            self._oldest[tp] = reader.positions[tp.partition]
        await self._joiner.prepare(tp, position, lambda: True)

    def rows(self, counted: Profile) -> int:
        """How many rows these are, of all sources."""
        return sum(map(self.layout.row_count, counted.parts.values()))

    def hint(self, pane: Pane) -> str:
        """Say why there may be fewer rows of a pane than there were, if that is known."""
        is_cut = pane.topic == self._settings.topic(JOINS) and self._oldest.get(TP(pane.topic, pane.partition), 0) > 0
        return JOIN_HINT if is_cut else ""
