"""The detectors of River's that a spec chose, in the place of the evidence of their signals.

An alarm counts as all the evidence that is asked for, against every tier, for ``tiers.quiet_steps`` steps with rows of
the signal, the alarm's own among them; otherwise there is none. The score is the engine's and still decides which tier
it is: an alarm with a small score raises none. What falls begins anew, as its evidence does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from detector.feeds import Feed, Vectors
from detector.journal import JournaledDetector
from detector.layout import Layout
from detector.readings import TIERS, SignalReading
from detector.reference import reference_vectors
from detector.river_detectors import DETECTORS, make_detector
from schemas.detectors import DetectorName
from schemas.model_spec import ModelSpec


@dataclass(slots=True)
class _Chosen:
    """The detector of one signal."""

    name: DetectorName
    detector: JournaledDetector
    feed: Feed
    left: int = 0
    """Steps for which its last alarm still counts, this one among them."""


class ChosenDetectors:
    """The detectors that a spec chose, by signal; most specs choose none.

    Parameters
    ----------
    spec
        With a frozen reference.
    log_threshold
        Evidence asked for, in nats: what an alarm is worth.
    """

    def __init__(self, spec: ModelSpec, layout: Layout, *, log_threshold: float) -> None:
        self._full, self._quiet_steps = (log_threshold,) * TIERS, spec.tiers.quiet_steps
        self._chosen: dict[int, _Chosen] = {}
        if not spec.detectors:
            return
        reference = reference_vectors(spec, layout)
        for index, signal in enumerate(layout.signals):
            if (wanted := spec.detectors.get(signal)) is not None:
                feed = DETECTORS[wanted.name].feed(layout, index, reference)
                self._chosen[index] = _Chosen(wanted.name, make_detector(wanted, feed), feed)

    def step(self, parts: Vectors, readings: Sequence[SignalReading]) -> None:
        """Tell the detectors of a step.

        Parameters
        ----------
        parts
            The step's counts by phase, in the layout.
        readings
            Of the step, in the order of the signals: a signal without rows in it is not told.
        """
        for index, each in self._chosen.items():
            if readings[index].in_step:
                alarm = each.detector.update(each.feed.values(parts))
                each.left = self._quiet_steps if alarm else max(each.left - 1, 0)

    def overlay(self, readings: Sequence[SignalReading]) -> Sequence[SignalReading]:
        """Put what the detectors say in the place of the evidence of their signals."""
        if not self._chosen:
            return readings
        spoken = list(readings)
        for index, each in self._chosen.items():
            evidence = self._full if each.left else (0.0,) * TIERS
            # Whether the reference is large enough for driftline's own evidence is no question here.
            spoken[index] = replace(spoken[index], evidence=evidence, not_judged=None, detector=each.name)
        return spoken

    def reset(self, index: int) -> None:
        """Let the detector of a signal begin anew, if it has one; its last alarm counts no more."""
        if (each := self._chosen.get(index)) is not None:
            each.detector.reset()
            each.left = 0

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes: for each detector its journal, what its feed carries, and its last alarm."""
        return {
            str(index): {"journal": each.detector.state(), "carry": each.feed.state(), "left": each.left}
            for index, each in self._chosen.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state of the same spec, to the last bit.

        Raises
        ------
        ValueError
            If the state is of other detectors.
        """
        if set(state) != {str(index) for index in self._chosen}:
            raise ValueError("saved detectors do not fit the spec: they are of other signals")
        for index, each in self._chosen.items():
            saved = state[str(index)]
            each.detector.restore(saved["journal"])
            each.feed.restore(saved["carry"])
            each.left = saved["left"]
