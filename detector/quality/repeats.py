"""Rows compared with the rows before them in their source partition: frozen numbers, duplicates, rows that come late.

What is needed of the rows before travels with the total: of each number the last value and how often it came in a row,
hashes of the last 128 rows, and the newest event time. So a total is the same however the log was cut, and a restart
changes nothing. Rows of other partitions are not seen: a duplicate that was written to another one is none here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.quality.binned import Binned, quality_signal
from detector.quality.counters import BinsOf, Carry, Counter, Mask
from detector.quality.norms import numbers_of
from detector.quality.rates import Rate
from detector.rows import Rows
from schemas.model_spec import ModelSpec
from schemas.outbound import Family
from schemas.quality import Check, RateTiers

Ints = NDArray[np.int64]

FROZEN_RUN: Final = 32
"""The same number so often in a row is frozen."""
REMEMBERED: Final = 128
"""Rows before it among which a duplicate of a row is looked for."""
_MICROSECONDS: Final = 1e6
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xD6E8FEB86659FD93)
_HALF: Final = np.uint64(32)


class FrozenCounter:
    """Counts numbers that stay the same.

    Parameters
    ----------
    signals
        At least one: numbers that vary in the reference.
    """

    def __init__(self, signals: Sequence[Binned], tiers: RateTiers) -> None:
        self._signals, self._tiers = tuple(signals), tiers
        self._columns = [signal.column for signal in signals]
        self.width = len(signals)
        self.carries: Mapping[str, int] = {"last": self.width, "repeated": self.width}

    def rates(self, start: int) -> Sequence[Rate]:
        """One rate for each number, among the values that are there."""
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

    def count(self, rows: Rows, bins: BinsOf, carry: Carry) -> Mask | None:
        """Count values that are the same for the 32nd time or more; a missing one ends a run."""
        x = numbers_of(rows, self._columns)
        if x is None:
            return None
        there, bits = np.isfinite(x), x.view(np.int64)
        last, repeated = carry["last"], carry["repeated"]
        same = np.empty(x.shape, dtype=np.bool_)
        same[:, 0] = (bits[:, 0] == last) & (repeated > 0)
        same[:, 1:] = bits[:, 1:] == bits[:, :-1]
        same &= there
        if not same.any():
            carry["last"], carry["repeated"] = bits[:, -1].copy(), there[:, -1].astype(np.int64)
            return np.zeros(x.shape, dtype=np.bool_)
        place = np.arange(1, x.shape[1] + 1)
        begun = np.maximum.accumulate(np.where(same, 0, place), axis=1)
        run = place - begun + np.where(begun > 0, 1, repeated[:, None])
        carry["last"] = bits[:, -1].copy()
        carry["repeated"] = np.where(there[:, -1], np.minimum(run[:, -1], FROZEN_RUN), 0)
        return np.asarray((run >= FROZEN_RUN) & there)


class DuplicateCounter:
    """Counts rows that came before: the same features, answer and time as one of the last 128 rows.

    A row is known by 32 bits of a hash of its numbers, the bins of its categories, and its time; two different rows are
    taken for one about once in thirty million.

    Parameters
    ----------
    signals
        Features and the prediction.
    """

    width = 2
    carries: Mapping[str, int] = {"hashes": REMEMBERED}

    def __init__(self, signals: Sequence[Binned], tiers: RateTiers) -> None:
        self._numbers = [signal.column for signal in signals if signal.is_number]
        self._others = [signal.column for signal in signals if not signal.is_number]
        self._tiers = tiers

    def rates(self, start: int) -> Sequence[Rate]:
        """One rate, among all rows."""
        signal = quality_signal(Check.DUPLICATES)
        return [Rate(signal, Family.QUALITY, self._tiers, (start,), (start + 1,), "a duplicate of a row just before")]

    def count(self, rows: Rows, bins: BinsOf, carry: Carry) -> Mask | None:
        """Count rows whose hash is among the 128 before."""
        hashes = np.concatenate([carry["hashes"], self._hashes(rows, bins)])
        carry["hashes"] = hashes[-REMEMBERED:].copy()
        order = np.argsort(hashes, kind="stable")
        ascending = hashes[order]
        near = (ascending[1:] == ascending[:-1]) & (np.diff(order) <= REMEMBERED) & (ascending[1:] > 0)
        found = np.zeros(len(hashes), dtype=np.bool_)
        found[order[1:][near]] = True
        return np.stack([found[REMEMBERED:], np.ones(len(rows), dtype=np.bool_)])

    def _hashes(self, rows: Rows, bins: BinsOf) -> Ints:
        """32 bits of each row, (n,), above 0: a multiplicative hash of all that it holds."""
        found = _mixed(np.nan_to_num(rows.times).view(np.uint64), 0)
        for place, column in enumerate(self._numbers, start=1):
            values = rows.columns[column]
            if values is not None:
                found = _mixed(found ^ np.asarray(values, dtype=np.float64).view(np.uint64), place)
        for place, column in enumerate(self._others, start=len(self._numbers) + 1):
            if rows.columns[column] is not None:
                found = _mixed(found ^ bins(column).astype(np.uint64), place)
        return np.maximum((found >> _HALF).astype(np.int64), 1)


def _mixed(bits: NDArray[np.uint64], place: int) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        mixed = (bits + np.uint64(place)) * _ODD
        return np.asarray((mixed ^ (mixed >> _HALF)) * _MIX)


class LateCounter:
    """Counts rows whose event time lies far behind the newest before them.

    Parameters
    ----------
    after_s
        Seconds from which a row is late.
    """

    width = 2
    carries: Mapping[str, int] = {"newest": 1}

    def __init__(self, after_s: float, tiers: RateTiers) -> None:
        self._after, self._tiers = round(after_s * _MICROSECONDS), tiers

    def rates(self, start: int) -> Sequence[Rate]:
        """One rate, among the rows that have a time."""
        signal = quality_signal(Check.LATE)
        return [Rate(signal, Family.QUALITY, self._tiers, (start,), (start + 1,), "late")]

    def count(self, rows: Rows, bins: BinsOf, carry: Carry) -> Mask | None:
        """Count late rows; those of a file without times cannot be."""
        timed = np.isfinite(rows.times)
        times = np.rint(np.where(timed, rows.times, 0.0) * _MICROSECONDS).astype(np.int64)
        newest = np.maximum.accumulate(np.concatenate([carry["newest"], times]))
        carry["newest"] = newest[-1:].copy()
        return np.stack([timed & (times < newest[:-1] - self._after), timed])


def repeat_counters(spec: ModelSpec, signals: Sequence[Binned]) -> Sequence[Counter]:
    """Make the counters that a spec asks for."""
    if spec.quality is None:
        return ()
    made: list[Counter] = []
    varying = [signal for signal in signals if signal.norm is not None and signal.norm.varies]
    if Check.FROZEN in spec.quality.checks and varying:
        made.append(FrozenCounter(varying, spec.quality.tiers_of(Check.FROZEN)))
    if Check.DUPLICATES in spec.quality.checks:
        made.append(DuplicateCounter(signals, spec.quality.tiers_of(Check.DUPLICATES)))
    if Check.LATE in spec.quality.checks:
        late_after = spec.quality.late_after.total_seconds()
        made.append(LateCounter(late_after, spec.quality.tiers_of(Check.LATE)))
    return made
