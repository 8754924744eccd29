"""A judge with everything that it was fed, so that what its events name can be counted again."""

from __future__ import annotations

from dataclasses import dataclass, field

from detector.judge import ModelJudge
from detector.profile import Profile, Vector
from detector.replay import Recomputed, replay_step
from schemas import codec
from schemas.model_spec import ModelSpec
from schemas.outbound import DriftEvent, Pane
from schemas.profiles import ProfileTotal


@dataclass
class History:
    """A judge, the events that it raised as subscribers read them, and every total that it was fed."""

    spec: ModelSpec
    events: list[DriftEvent] = field(default_factory=list)
    profiles: dict[tuple[str, int, int], Profile] = field(default_factory=dict)
    """By topic, partition and offset."""
    judge: ModelJudge = field(init=False)

    def __post_init__(self) -> None:
        self.judge = ModelJudge(self.spec)

    def feed(self, *totals: ProfileTotal) -> History:
        """Judge totals, in this order."""
        for total in totals:
            at = (total.topic, total.partition, total.next_offset)
            self.profiles[at] = Profile.decode_parts(
                total.parts, self.judge.layout.width, None, self.judge.layout.segment_width
            )
            self.events += [codec.decode(DriftEvent, codec.encode(event)) for event in self.judge.fold(total)]
        return self

    def parts(self, event: DriftEvent) -> dict[int, Vector]:
        """The rows of the event's last step, by phase."""
        step = Profile()
        for pane in event.lineage.steps[-1].panes:
            step.add(self.pane(pane))
        return {phase: vector for (stage, phase), vector in step.parts.items() if stage is event.stage}

    def pane(self, pane: Pane) -> Profile:
        """The rows of a pane: the difference of two totals."""
        before = self.profiles.get((pane.topic, pane.partition, pane.from_offset), Profile())
        return self.profiles[pane.topic, pane.partition, pane.to_offset].subtract(before)

    def replayed(self, event: DriftEvent) -> list[Recomputed]:
        """The event's last step, recomputed."""
        return replay_step(self.spec, event.lineage.evidence, self.parts(event))
