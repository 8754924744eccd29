"""Rows compared with the rows before them in their source partition: frozen numbers, duplicates, rows that come late.

What is needed of the rows before travels with the total: of each number the last value and how often it came in a row,
hashes of the last 128 rows, and the newest event time. So a total is the same however the log was cut, and a restart
changes nothing. Rows of other partitions are not seen: a duplicate that was written to another one is none here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from detector.quality.binned import Binned, quality_signal
from detector.quality.counters import Carry, Mask
from detector.quality.norms import tiers_in
from detector.quality.rates import Rate
from detector.quality.values import Block, Floats, Part, chosen
from schemas.model_spec import ModelSpec
from schemas.outbound import Family
from schemas.quality import Check, RateTiers

Ints = NDArray[np.int64]

FROZEN_RUN: Final = 32
"""The same number so often in a row is frozen."""
REMEMBERED: Final = 128
"""Rows before it among which a duplicate of a row is looked for."""
_MICROSECONDS: Final = 1e6
_BITS: Final = np.uint64(64)
_TURN: Final = np.uint64(11)
_SHIFTS: Final = (np.uint64(30), np.uint64(27))
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)
"""Of splitmix64, as in `detector.sampling`."""
_HALF: Final = np.uint64(32)


class FrozenCheck:
    """Marks numbers that stay the same.

    Parameters
    ----------
    signals
        The numbers among features and prediction, of which one at least varies in the reference.
    """

    def __init__(self, signals: Sequence[Binned], tiers: RateTiers | None) -> None:
        self._places = np.array([place for place, signal in enumerate(signals) if _varies(signal)], dtype=np.int64)
        self._signals, self._tiers = [signals[place] for place in self._places.tolist()], tiers
        self.width = len(self._signals)
        self.carries: Mapping[str, int] = {"last": self.width, "repeated": self.width}

    def rates(self, start: int) -> Sequence[Rate]:
        """One rate for each number, among the values that are there."""
        if self._tiers is None:
            return ()
        return [
            Rate(
                quality_signal(Check.FROZEN, signal.name),
                Family.QUALITY,
                self._tiers,
                bad=(start + place,),
                rows=signal.values,
                what=f"the same {FROZEN_RUN} times in a row or more",
                importance=signal.importance,
            )
            for place, signal in enumerate(self._signals)
        ]

    def mark(self, block: Block, carry: Carry, out: Mask) -> None:
        """Mark values that are the same for the 32nd time or more; a missing one ends a run."""
        there = cast(Mask, chosen(block.finite, self._places))
        bits = cast(Floats, chosen(block.x, self._places)).view(np.int64)
        last, repeated = carry["last"], carry["repeated"]
        same = out
        same[:, 0] = (bits[:, 0] == last) & (repeated > 0)
        np.equal(bits[:, 1:], bits[:, :-1], out=same[:, 1:])
        same &= there
        carry["last"], carry["repeated"] = bits[:, -1].copy(), there[:, -1].astype(np.int64)
        repeats = np.flatnonzero(same.any(axis=1))
        if not len(repeats):
            return
        place = np.arange(1, bits.shape[1] + 1)
        begun = np.maximum.accumulate(np.where(same[repeats], 0, place), axis=1)
        run = place - begun + np.where(begun > 0, 1, repeated[repeats, None])
        carry["repeated"][repeats] = np.where(there[repeats, -1], np.minimum(run[:, -1], FROZEN_RUN), 0)
        out[repeats] = (run >= FROZEN_RUN) & there[repeats]


def _varies(signal: Binned) -> bool:
    return signal.norm is not None and signal.norm.varies


class DuplicateCheck:
    """Marks rows that came before: the same numbers, features and answer, and time as one of the last 128 rows.

    A row is known by 32 bits of a hash; two different rows are taken for one about once in thirty million. Categories
    are not looked at where there are numbers: those and the time tell rows apart.
    """

    width = 2
    carries: Mapping[str, int] = {"hashes": REMEMBERED}

    def __init__(self, tiers: RateTiers | None) -> None:
        self._tiers = tiers

    def rates(self, start: int) -> Sequence[Rate]:
        """One rate, among all rows."""
        if self._tiers is None:
            return ()
        signal = quality_signal(Check.DUPLICATES)
        places, what = ((start,), (start + 1,)), "a duplicate of a row just before"
        return [Rate(signal, Family.QUALITY, self._tiers, *places, what)]

    def mark(self, block: Block, carry: Carry, out: Mask) -> None:
        """Mark rows whose hash is among the 128 before, and all rows."""
        out[1] = True
        hashes = np.concatenate([carry["hashes"], _hashes(block)])
        carry["hashes"] = hashes[-REMEMBERED:].copy()
        ascending = np.sort(hashes)
        if not ((ascending[1:] == ascending[:-1]) & (ascending[1:] > 0)).any():
            return
        order = np.argsort(hashes, kind="stable")
        ascending = hashes[order]
        near = (ascending[1:] == ascending[:-1]) & (np.diff(order) <= REMEMBERED) & (ascending[1:] > 0)
        found = np.zeros(len(hashes), dtype=np.bool_)
        found[order[1:][near]] = True
        out[0] = found[REMEMBERED:]


def _hashes(block: Block) -> Ints:
    """32 bits of each row, (n,), above 0: the bits of its time and numbers, each rotated by its place, and mixed."""
    bits = np.concatenate([np.nan_to_num(block.rows.times)[None, :], block.x]).view(np.uint64)
    turns = (_TURN * np.arange(len(bits), dtype=np.uint64) % _BITS)[:, None]
    turned = np.bitwise_xor.reduce((bits << turns) | (bits >> ((_BITS - turns) % _BITS)), axis=0)
    with np.errstate(over="ignore"):
        for shift in _SHIFTS:
            turned = (turned ^ (turned >> shift)) * _MIX
    return np.asarray(np.maximum((turned >> _HALF).astype(np.int64), 1))


class LateCheck:
    """Marks rows whose event time lies far behind the newest before them.

    Parameters
    ----------
    after_s
        Seconds from which a row is late.
    """

    width = 2
    carries: Mapping[str, int] = {"newest": 1}

    def __init__(self, after_s: float, tiers: RateTiers | None) -> None:
        self._after, self._tiers = round(after_s * _MICROSECONDS), tiers

    def rates(self, start: int) -> Sequence[Rate]:
        """One rate, among the rows that have a time."""
        if self._tiers is None:
            return ()
        signal = quality_signal(Check.LATE)
        return [Rate(signal, Family.QUALITY, self._tiers, (start,), (start + 1,), "late")]

    def mark(self, block: Block, carry: Carry, out: Mask) -> None:
        """Mark late rows, and those that can be: the rows of a file without times cannot."""
        rows = block.rows
        timed = np.isfinite(rows.times)
        times = np.rint(np.where(timed, rows.times, 0.0) * _MICROSECONDS).astype(np.int64)
        newest = np.maximum.accumulate(np.concatenate([carry["newest"], times]))
        carry["newest"] = newest[-1:].copy()
        out[0] = timed & (times < newest[:-1] - self._after)
        out[1] = timed


def repeat_checks(spec: ModelSpec, signals: Sequence[Binned]) -> Sequence[Part]:
    """Make the checks that a spec asks for; ``signals`` are the numbers among features and prediction."""
    counted = spec.counted
    if counted is None:
        return ()
    made: list[Part] = []
    if Check.FROZEN in counted.checks and any(map(_varies, signals)):
        made.append(FrozenCheck(signals, tiers_in(spec, Check.FROZEN)))
    if Check.DUPLICATES in counted.checks and signals:
        made.append(DuplicateCheck(tiers_in(spec, Check.DUPLICATES)))
    if Check.LATE in counted.checks:
        made.append(LateCheck(counted.late_after.total_seconds(), tiers_in(spec, Check.LATE)))
    return made
