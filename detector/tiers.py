"""From score and evidence to a tier: going up needs both keys, going down needs several quiet steps.

A signal rises to the highest tier whose score it reaches *and* against whose own null there is as much evidence as the
false-alarm budget asks for. It falls only after ``quiet_steps`` steps in a row in which its recent rows stay below half
of its tier's score, and then to the highest tier that they still held in that time. Steps without rows of a signal say
nothing about it. What falls must also lose its evidence, or it would rise again at once: `Tiers.update` names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from detector.readings import SignalBaseline, SignalReading
from schemas.outbound import Tier

_RANKED: Final = tuple(Tier)


@dataclass(slots=True)
class _Standing:
    """Where one signal stands."""

    tier: int = 0
    quiet: int = 0
    """Steps in a row in which it did not hold its tier."""
    held: int = 0
    """The highest tier that it held in them."""


class Tiers:
    """The tiers of all signals of one model version.

    Parameters
    ----------
    baselines
        Whose scores of minor, moderate and significant are compared with.
    log_threshold
        Evidence asked for, in nats.
    quiet_steps
        Steps before a signal goes down.
    """

    def __init__(self, baselines: Sequence[SignalBaseline], *, log_threshold: float, quiet_steps: int) -> None:
        self._thresholds = [each.thresholds for each in baselines]
        self._log_threshold, self._quiet_steps = log_threshold, quiet_steps
        self._standings = [_Standing() for _ in baselines]

    @property
    def current(self) -> tuple[Tier, ...]:
        """The tier of each signal."""
        return tuple(_RANKED[standing.tier] for standing in self._standings)

    def update(self, readings: Sequence[SignalReading]) -> Mapping[int, Tier]:
        """Take one step's readings; return the signals that fell, with the tier that they fell to.

        Whoever calls resets their evidence above it: ``engine.reset(index, above=tier.rank)``.
        """
        fallen = {}
        for index, (reading, standing) in enumerate(zip(readings, self._standings, strict=True)):
            if reading.in_step and (standing.tier or reading.evidence[0] >= self._log_threshold):
                before = standing.tier
                self._move(standing, reading, self._thresholds[index])
                if standing.tier < before:
                    fallen[index] = _RANKED[standing.tier]
        return fallen

    def _move(self, standing: _Standing, reading: SignalReading, thresholds: Sequence[float]) -> None:
        sure = [evidence >= self._log_threshold for evidence in reading.evidence]
        reached = _highest(enough and reading.score >= score for enough, score in zip(sure, thresholds, strict=True))
        if reached > standing.tier:
            standing.tier, standing.quiet, standing.held = reached, 0, 0
            return
        holds = _highest(reading.quiet_score >= score / 2 for score in thresholds)
        if holds >= standing.tier:
            standing.quiet, standing.held = 0, 0
            return
        standing.quiet, standing.held = standing.quiet + 1, max(standing.held, holds)
        if standing.quiet >= self._quiet_steps:
            standing.tier, standing.quiet, standing.held = standing.held, 0, 0

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes: plain values."""
        return {"standings": [(each.tier, each.quiet, each.held) for each in self._standings]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        Raises
        ------
        ValueError
            If the state is of other signals.
        """
        if len(state["standings"]) != len(self._standings):
            raise ValueError("saved tiers do not fit the model: another number of signals")
        self._standings = [_Standing(*each) for each in state["standings"]]


def _highest(held: Iterable[bool]) -> int:
    """Rank of the highest tier of minor, moderate, significant that is held; 0 for none."""
    return max((rank for rank, each in enumerate(held, start=1) if each), default=0)
