"""What the evidence behind an event was before its last step, and what the step made of it: exact, to be recomputed."""

from __future__ import annotations

from schemas.base import Outbound


class StepEvidence(Outbound):
    """What the last step did to the evidence of one signal.

    The step's factor is ``exp(after - before)``. Numbers are as they were computed, not rounded.
    """

    signal: str
    segment: str | None = None
    """Where it is of a segment, not of all rows."""
    before: tuple[float, float, float]
    """Evidence before the step against the nulls of minor, moderate and significant, in nats."""
    after: tuple[float, float, float]
    """After it."""
    score: float
    """After it, in the unit of the signal's ``score_name``."""
    state: str | None = None
    """What the step's bets were made from, all that is needed to recompute it from its rows: base64 of what
    ``detector.lineage`` packs. Null where it is not told."""
    not_told: str | None = None
    """Why there is no ``state``."""

    @property
    def name(self) -> str:
        """What it is called among all signals of the model."""
        return self.signal if self.segment is None else f"{self.signal} in {self.segment}"
