"""Where each signal's change began: the last place at which there was no evidence of it.

Shiryaev-Roberts evidence rises from the change on; the end of the last step in which it was still low is a simple and
slightly early estimate of the onset, good enough to say which rows to look at and to train on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from detector.readings import SignalReading
from schemas.model_spec import OffsetRange

LOW: Final = 2.0
"""Nats against the minor tier's null below which nothing has begun."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the stream: event time and the offsets that had been folded in, by partition."""

    time: float | None = None
    """Seconds since 1970; None at the beginning, and where there are no times."""
    offsets: tuple[OffsetRange, ...] = ()

    def ranges_until(self, now: tuple[OffsetRange, ...]) -> tuple[OffsetRange, ...]:
        """Rows that came between this mark and ``now``."""
        before = {(each.topic, each.partition): each.to_offset for each in self.offsets}
        starts = [max(before.get((each.topic, each.partition), 0), each.from_offset) for each in now]
        return tuple(
            each.model_copy(update={"from_offset": start})
            for each, start in zip(now, starts, strict=True)
            if start < each.to_offset
        )

    def state(self) -> dict[str, Any]:
        """Write it as plain values."""
        return {"time": self.time, "offsets": [each.model_dump() for each in self.offsets]}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Mark:
        """Read what ``state`` wrote."""
        return cls(state["time"], tuple(OffsetRange(**each) for each in state["offsets"]))


class Onsets:
    """The mark of each signal; signals that were quiet together share one."""

    def __init__(self, signals: Sequence[str]) -> None:
        self.marks: dict[str, Mark] = dict.fromkeys(signals, Mark())

    def update(self, readings: Sequence[SignalReading], now: Mark) -> None:
        """Move the marks of all signals without evidence to the end of the step."""
        for reading in readings:
            if reading.evidence[0] < LOW:
                self.marks[reading.name] = now

    def earliest(self, signals: Iterable[str]) -> Mark:
        """Return the mark of the signal whose change began first."""
        return earliest([self.marks[signal] for signal in signals], otherwise=Mark())

    def state(self) -> dict[str, Any]:
        """What must be saved: each distinct mark once."""
        distinct = list({id(mark): mark for mark in self.marks.values()}.values())
        places = {id(mark): place for place, mark in enumerate(distinct)}
        return {
            "marks": [mark.state() for mark in distinct],
            "places": {signal: places[id(mark)] for signal, mark in self.marks.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up where ``state`` left off."""
        marks = [Mark.restored(each) for each in state["marks"]]
        places = state["places"]
        self.marks = {signal: marks[places[signal]] if signal in places else Mark() for signal in self.marks}


def earliest(marks: Sequence[Mark], *, otherwise: Mark) -> Mark:
    """Return the mark behind the fewest rows; ``otherwise`` where there is none."""
    return min(
        marks, key=lambda mark: sum(each.to_offset - each.from_offset for each in mark.offsets), default=otherwise
    )
