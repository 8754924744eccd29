"""Folds running totals into panes and hands them to the monitors: one judge for each model version.

The judge holds the last total folded in of each source partition. A total that has come further is folded by
subtraction; anything else is a duplicate or a zombie's and is ignored. So compaction, repeats and reordering of totals
do no harm: the next total contains what was missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.expectation import WHOLE
from detector.lags import coverage
from detector.layout import Layout
from detector.monitor import Monitor
from detector.profile import Profile, Vector
from detector.reference import reference_vectors
from detector.rules.counter import EXAMPLES, examples_in, rule_signal
from detector.schema.watch import SchemaWatch
from detector.state import StateError, pack, unpack
from detector.steps import PaneCounts
from detector.surrogates.signals import tables_by_stage
from detector.totals import read_carry
from schemas.model_spec import ModelSpec, OffsetRange, Stage
from schemas.outbound import DriftEvent, LabelStatus, ModelState, ModelStatus, Pane, RecordAddress, RuleStatus
from schemas.profiles import ProfileTotal
from schemas.schema_changes import SchemaChange, ShapeTally

Partition = tuple[str, int]


@dataclass(slots=True)
class _Fence:
    """How far a source partition has been folded in."""

    incarnation: int
    started_at: int
    next_offset: int
    profile: Profile
    uncounted: tuple[OffsetRange, ...] = ()
    invalid: dict[str, int] | None = None
    carry: str | None = None
    """What counters keep of the rows before, as the total has it."""
    examples: tuple[tuple[int, ...], ...] = ()
    """Of each rule: offsets of the records that broke it last; read off the carry."""
    shapes: ShapeTally | None = None


class ModelJudge:
    """Judges one model version.

    Parameters
    ----------
    spec
        A spec with a frozen reference.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.layout = Layout(spec)
        self._fences: dict[Partition, _Fence] = {}
        self._monitors: dict[Stage, Monitor] = {}
        self._schema = SchemaWatch(self.layout, reference_vectors(spec, self.layout)[WHOLE])
        self._schema_changes: list[SchemaChange] = []
        self.note: str | None = None
        """What a person should know of this version; shown in its status."""

    def fold(self, total: ProfileTotal) -> list[DriftEvent]:
        """Fold in a running total; what that decides is returned.

        Raises
        ------
        ValueError
            If the counts are not of this spec's layout.
        """
        if total.spec_hash != self.layout.spec_hash:
            return []
        key = (total.topic, total.partition)
        fence = self._fences.get(key)
        if fence is not None and (total.incarnation, total.next_offset) <= (fence.incarnation, fence.next_offset):
            return []
        continues = fence is not None and fence.incarnation == total.incarnation
        like = fence.profile if fence is not None else None
        profile = Profile.decode_parts(total.parts, self.layout.width, like, self.layout.segment_width)
        difference = profile.subtract(fence.profile) if fence is not None and continues else profile
        from_offset = fence.next_offset if fence is not None and continues else total.started_at
        self._fences[key] = _Fence(
            total.incarnation,
            total.started_at,
            total.next_offset,
            profile,
            total.uncounted,
            dict(total.invalid),
            total.carry,
            examples_in(read_carry(total.carry, self.layout)),
            total.shapes,
        )
        self._watch_schema(total, fence.shapes if fence is not None and continues else None, from_offset)
        return [self._with_examples(event) for event in self._observe(total, difference, from_offset)]

    def _observe(self, total: ProfileTotal, difference: Profile, from_offset: int) -> list[DriftEvent]:
        """Split the difference by stage; each stage has a monitor of its own."""
        stages = {stage for stage, _ in difference.parts}
        events: list[DriftEvent] = []
        sampled = {} if total.sample is None else tables_by_stage(self.layout, total.sample, from_offset)
        for stage in sorted(stages):
            parts = {phase: vector for (of, phase), vector in difference.parts.items() if of is stage}
            segments = {number: vector for (of, number), vector in difference.segments.items() if of is stage}
            rows = sum(self.layout.row_count(vector) for vector in parts.values())
            if rows == 0:
                continue
            pane = Pane(
                topic=total.topic,
                partition=total.partition,
                from_offset=from_offset,
                to_offset=total.next_offset,
                rows=rows,
            )
            time = total.time.timestamp() if total.time is not None else None
            counts = PaneCounts(pane, parts, time, sampled.get(stage), segments)
            events += self._monitor(stage).observe(counts, self.offsets)
        return events

    def _watch_schema(self, total: ProfileTotal, before: ShapeTally | None, from_offset: int) -> None:
        where = OffsetRange(
            topic=total.topic, partition=total.partition, from_offset=from_offset, to_offset=total.next_offset
        )
        change = self._schema.fold(before, total.shapes, where, total.time)
        if change is not None:
            self._schema_changes.append(change)

    def take_schema_changes(self) -> list[SchemaChange]:
        """Return what the totals folded in have shown of the events' features, and forget it."""
        changes, self._schema_changes = self._schema_changes, []
        return changes

    def _with_examples(self, event: DriftEvent) -> DriftEvent:
        """Name records where a rule is part of the incident."""
        rules = {rule_signal(rule.name): i for i, rule in enumerate(self.spec.rules)}
        if not any(verdict.signal in rules for verdict in event.signals):
            return event
        signals = tuple(
            verdict.model_copy(update={"examples": self._examples(rules[verdict.signal])})
            if verdict.signal in rules
            else verdict
            for verdict in event.signals
        )
        return event.model_copy(update={"signals": signals})

    def _examples(self, rule: int) -> tuple[RecordAddress, ...]:
        """Some of the last records that broke a rule, in turn from every partition."""
        found = [
            (age, topic, partition, offset)
            for (topic, partition), fence in sorted(self._fences.items())
            for age, offset in enumerate(reversed(fence.examples[rule] if fence.examples else ()))
        ]
        return tuple(
            RecordAddress(topic=topic, partition=partition, offset=offset)
            for _, topic, partition, offset in sorted(found)[:EXAMPLES]
        )

    def _monitor(self, stage: Stage) -> Monitor:
        if stage not in self._monitors:
            self._monitors[stage] = Monitor(self.spec, self.layout, stage)
        return self._monitors[stage]

    @property
    def offsets(self) -> tuple[OffsetRange, ...]:
        """All rows folded in, by partition."""
        return tuple(
            OffsetRange(topic=topic, partition=partition, from_offset=fence.started_at, to_offset=fence.next_offset)
            for (topic, partition), fence in sorted(self._fences.items())
        )

    def status(self) -> list[ModelStatus]:
        """Where the version stands, one for each stage seen (production where none was)."""
        invalid: dict[str, int] = {}
        for fence in self._fences.values():
            for feature, count in (fence.invalid or {}).items():
                invalid[feature] = invalid.get(feature, 0) + count
        monitors = self._monitors or {Stage.PRODUCTION: Monitor(self.spec, self.layout, Stage.PRODUCTION)}
        return [
            ModelStatus(
                model=self.spec.model,
                version=self.spec.version,
                stage=stage,
                state=ModelState.WATCHING,
                owner=self.spec.owner,
                spec_hash=self.layout.spec_hash,
                offsets=self.offsets,
                uncounted=tuple(gap for fence in self._fences.values() for gap in fence.uncounted),
                invalid=invalid,
                note=self.note,
                labels=self._labels(stage),
                rules=self._rules(stage),
                **monitor.standing(),
            )
            for stage, monitor in sorted(monitors.items())
        ]

    def _labels(self, stage: Stage) -> LabelStatus | None:
        """What is known of the labels of a stage, over all rows folded in; None where none are read."""
        if self.spec.outcomes is None:
            return None
        whole = self._whole(stage)
        arrivals, labels = self.layout.arrivals(whole), self.layout.labels(whole)
        if arrivals is None:
            return None
        known = coverage(self.layout.predictions(whole), labels, arrivals.joined, self.spec.outcomes.sample)
        p50, p90, p99 = map(arrivals.quantile, (0.5, 0.9, 0.99))
        return LabelStatus(rows=labels, coverage=known, lag_p50_s=p50, lag_p90_s=p90, lag_p99_s=p99)

    def _rules(self, stage: Stage) -> tuple[RuleStatus, ...]:
        """What became of the rules in a stage; the records named are of all stages."""
        counts = self.layout.rule_counts(self._whole(stage)).tolist()
        return tuple(
            RuleStatus(
                name=rule.name,
                expression=rule.expression,
                broken=broken,
                kept=kept,
                open=unknown,
                examples=self._examples(i),
            )
            for i, (rule, (broken, kept, unknown)) in enumerate(zip(self.spec.rules, counts, strict=True))
        )

    def _whole(self, stage: Stage) -> Vector:
        """All rows of a stage that were folded in."""
        whole = np.zeros(self.layout.width, dtype=np.int64)
        for fence in self._fences.values():
            for (of, _), vector in fence.profile.parts.items():
                if of is stage:
                    whole += vector
        return whole

    def copy_of(self, topic: str, partition: int) -> ProfileTotal | None:
        """The last total of a source partition that was folded in: what its counting can go on from; None: none was."""
        fence = self._fences.get((topic, partition))
        if fence is None:
            return None
        return ProfileTotal(
            model=self.spec.model,
            version=self.spec.version,
            spec_hash=self.layout.spec_hash,
            topic=topic,
            partition=partition,
            incarnation=fence.incarnation,
            started_at=fence.started_at,
            next_offset=fence.next_offset,
            rows=sum(map(self.layout.row_count, fence.profile.parts.values())),
            parts=fence.profile.encode_parts(),
            invalid=fence.invalid or {},
            uncounted=fence.uncounted,
            carry=fence.carry,
            shapes=fence.shapes,
        )

    @property
    def position(self) -> int:
        """How far the judge has come: the number of records folded in, over all partitions and incarnations."""
        return sum(fence.next_offset - fence.started_at for fence in self._fences.values())

    def state(self) -> bytes:
        """Everything a successor needs: statistics, incidents and fences, saved together."""
        fences = [
            {
                "topic": topic,
                "partition": partition,
                "incarnation": fence.incarnation,
                "started_at": fence.started_at,
                "next_offset": fence.next_offset,
                "profile": fence.profile.encode(),
                "uncounted": [gap.model_dump() for gap in fence.uncounted],
                "invalid": fence.invalid or {},
                "carry": fence.carry,
                "shapes": fence.shapes and fence.shapes.model_dump(mode="json"),
            }
            for (topic, partition), fence in sorted(self._fences.items())
        ]
        monitors = {stage.value: monitor.state() for stage, monitor in sorted(self._monitors.items())}
        return pack(
            {"spec_hash": self.layout.spec_hash, "fences": fences, "monitors": monitors, "schema": self._schema.state()}
        )

    @classmethod
    def restore(cls, spec: ModelSpec, data: bytes) -> ModelJudge:
        """Take up where ``state`` left off.

        Raises
        ------
        StateError
            If the state is damaged or of another spec.
        """
        state: dict[str, Any] = unpack(data)
        judge = cls(spec)
        if state.get("spec_hash") != judge.layout.spec_hash:
            raise StateError(f"the saved state of {spec.model} {spec.version} is of another spec")
        for fence in state["fences"]:
            judge._fences[fence["topic"], fence["partition"]] = _Fence(
                fence["incarnation"],
                fence["started_at"],
                fence["next_offset"],
                Profile.decode(fence["profile"], judge.layout.width, judge.layout.segment_width),
                tuple(OffsetRange(**gap) for gap in fence["uncounted"]),
                fence["invalid"],
                fence.get("carry"),
                examples_in(read_carry(fence.get("carry"), judge.layout)),
                ShapeTally(**fence["shapes"]) if fence.get("shapes") else None,
            )
        if "schema" in state:
            judge._schema.restore(state["schema"])
        for stage, monitor in state["monitors"].items():
            judge._monitor(Stage(stage)).restore(monitor)
        return judge
