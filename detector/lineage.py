"""What an event tells of its last step, so that whoever has the step's records can recompute what it made of them.

What the evidence of one signal was before a step is a slice of the engine's state: a few hundred numbers. A trail keeps
the state as it was when the last step began, and writes the slices of an event's signals into the event, as many as
fit. `detector.replay` reads them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.evidence import EvidenceEngine
from detector.limits import Limits
from detector.ragged import Floats, Indices, Ragged
from detector.readings import SignalReading
from detector.river_detectors import DETECTORS
from detector.state import StateError, pack, unpack
from schemas.lineage import StepEvidence
from schemas.model_spec import ModelSpec

MOST_STATE_CHARACTERS: Final = 131_072
"""Of all signals of an event together."""
MOST_SIGNALS: Final = 1_000
"""Signals whose evidence is told in one event: the first of the incident, and so the worst."""
RIVER: Final = "an alarm of River's {}: it follows from all values since the detector began, not from one step"
SURROGATE: Final = "a surrogate model: it follows from all rows drawn since the model began to learn, not from one step"
SEGMENT: Final = "a segment: it is judged once in several steps, and so follows from the rows of all of these"
LOOKS_BACK: Final = "a check that compares rows with those before them: it follows from more than the rows of one step"
TOO_MANY: Final = "the incident has more signals than an event tells in full"
ELSEWHERE: Final = "the drift event behind it tells it"
_LIMITS: Final = "limits"
_BURST: Final = "burst"

Evidence = tuple[float, float, float]
Subject = tuple[str, str | None]
"""A signal, and the segment that it is of; None: of all rows."""
State = dict[str, Any]


class Trail:
    """Remembers how things stood when the last step began.

    Parameters
    ----------
    layout
        Of the engine's signals. Members of an incident have their order, and behind them that of the surrogates, the
        limits, and the signals of segments.
    surrogates, limits
        How many of these there are.
    """

    def __init__(self, layout: Ragged, *, surrogates: int = 0, limits: int = 0) -> None:
        self._layout = layout
        self._before_limits = layout.signals + surrogates
        self._before_segments = self._before_limits + limits
        self._engine: Mapping[str, Floats] = {}
        self._limits: State = {}
        self._before: Sequence[Evidence] = ()

    def begin(
        self, engine: EvidenceEngine, before: Sequence[Evidence], limits: Limits | None = None, burst: float = 1.0
    ) -> None:
        """Keep what there is before a step.

        Parameters
        ----------
        before
            Evidence of each signal.
        burst
            Rows that are worth one independent row, of the losses that limits are about.
        """
        self._engine, self._before = engine.state(), before
        self._limits = {_LIMITS: limits.state(), _BURST: burst} if limits is not None and limits.names else {}

    def told(self, signals: Sequence[tuple[int, Subject]], after: Sequence[SignalReading]) -> tuple[StepEvidence, ...]:
        """Tell of some signals, in the order given; ``after`` are the readings of the step, of all signals."""
        room, told = MOST_STATE_CHARACTERS, []
        for index, (signal, segment) in signals[:MOST_SIGNALS]:
            reading = after[index]
            state, why = self._state(index, reading)
            if state is not None and len(state) > room:
                state, why = None, TOO_MANY
            room -= len(state or "")
            told.append(
                StepEvidence(
                    signal=signal,
                    segment=segment,
                    before=self._before[index],
                    after=reading.evidence,
                    score=reading.score,
                    state=state,
                    not_told=why,
                )
            )
        return tuple(told)

    def _state(self, index: int, reading: SignalReading) -> tuple[str | None, str | None]:
        """Return the state of one signal, or why it has none that a step can be recomputed from."""
        if index < self._layout.signals:
            if reading.detector is not None:
                return None, RIVER.format(reading.detector)
            return write_state(part_of(self._engine, self._layout, index)), None
        if index < self._before_limits:
            return None, SURROGATE
        return (write_state(self._limits), None) if index < self._before_segments else (None, SEGMENT)


def part_of(state: Mapping[str, Floats], layout: Ragged, index: int) -> dict[str, Floats]:
    """Take one signal out of an engine's state: of every array the places of the last axis that are the signal's."""
    return {name: np.ascontiguousarray(values[..., _places(values, layout, index)]) for name, values in state.items()}


def with_part(state: Mapping[str, Floats], layout: Ragged, index: int, part: Mapping[str, Floats]) -> dict[str, Floats]:
    """Put what `part_of` took into another state of the same signals.

    Raises
    ------
    ValueError
        If the part is of other signals.
    """
    merged = {name: values.copy() for name, values in state.items()}
    if set(part) != set(merged):
        raise ValueError("the evidence told in the event is of another version of driftline")
    for name, values in merged.items():
        values[..., _places(values, layout, index)] = part[name]
    return merged


def _places(values: NDArray[np.float64], layout: Ragged, index: int) -> Indices:
    """Where a signal stands on the last axis, which holds signals, bins, or the directions of `LiveDispersion`."""
    start, size, bins, signals = int(layout.starts[index]), int(layout.sizes[index]), layout.bins, layout.signals
    of_bins = np.arange(start, start + size)
    width = values.shape[-1]
    if width == signals:
        return np.array([index])
    if width == bins:
        return of_bins
    if width == bins + 2 * signals:
        return np.concatenate([of_bins, [bins + index, bins + signals + index]])
    raise ValueError(f"an array of {width} is of neither signals nor bins")


def read_state(text: str) -> State:
    """Read the ``state`` of a `StepEvidence`.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    try:
        return unpack(base64.b64decode(text, validate=True))
    except (binascii.Error, StateError) as error:
        raise ValueError(f"the evidence told in the event cannot be read: {error}") from error


def limits_of(state: State) -> tuple[State, float]:
    """Return what a limit's state holds: that of all limits, and the rows worth an independent one."""
    return state[_LIMITS], state[_BURST]


def numbers_only(evidence: Sequence[StepEvidence]) -> tuple[StepEvidence, ...]:
    """Leave out the states: what is kept where the event itself can be looked up."""
    return tuple(
        each if each.state is None else each.model_copy(update={"state": None, "not_told": ELSEWHERE})
        for each in evidence
    )


def seeds_of(spec: ModelSpec) -> dict[str, int]:
    """Seeds of the random generators that a spec makes use of, by what draws."""
    return {
        f"{signal}/{each.name}": DETECTORS[each.name].fixed["seed"]
        for signal, each in spec.detectors.items()
        if "seed" in DETECTORS[each.name].fixed
    }


def evidence_of(evidence: Floats) -> list[Evidence]:
    """Evidence (3, S) as one tuple for each signal."""
    return [(minor, moderate, significant) for minor, moderate, significant in evidence.T.tolist()]


def write_state(state: Mapping[str, Any]) -> str:
    """Write what `read_state` reads."""
    return base64.b64encode(pack(dict(state))).decode("ascii")
