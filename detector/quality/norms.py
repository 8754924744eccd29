"""Numbers that are not as the reference's: outliers, another unit, another precision. Counted, since no bin tells them.

=============  ====================================================================================================
``outliers``   Beyond Tukey's outer fences, Q1 - 3 (Q3 - Q1) and Q3 + 3 (Q3 - Q1) of the reference ("Exploratory
               Data Analysis", 1977): quartiles do not move with the outliers themselves
``unit``       Out of the reference's range, and where its middle 90 % would lie in another unit
``precision``  A multiple of the grain: the smallest of 0.01, 0.1 and 1 whose multiples were at most a fifth of the
               reference. Where all numbers of the reference were whole: one that is not
=============  ====================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from detector.bins import LARGEST, NumberBinner
from detector.quality.binned import Binned, quality_signal
from detector.quality.counters import Carry, Mask
from detector.quality.rates import Rate
from detector.quality.values import Block, Part, chosen
from schemas.model_spec import ModelSpec
from schemas.outbound import Family
from schemas.quality import Check, NumberNorm, RateTiers

Floats = NDArray[np.float64]

NEEDS_NORM: Final = (Check.OUTLIERS, Check.UNIT, Check.PRECISION, Check.FROZEN)
"""Checks that go by what is usual of a number."""
FENCE: Final = 3.0
"""Distances of the quartiles beyond them."""
GRAINS: Final = (0.01, 0.1, 1.0)
ROUND_SHARE: Final = 0.2
"""Of multiples of the grain in the reference, at the most, so that there is room for more."""
FREQUENT_SHARE: Final = 0.2
"""Of the most frequent value, at the most, where one that lasts is taken for frozen."""
FEWEST_VALUES: Final = 100
"""With fewer, nothing is known of outliers, units and grains."""
FACTORS: Final = (1_000.0, 100.0, 0.01, 0.001)
"""By which values are multiplied where a unit was mistaken: grams for kilograms, percent for shares, and back."""
CELSIUS: Final = (-40.0, 15.0, 45.0)
FAHRENHEIT: Final = (-40.0, 60.0, 115.0)
"""What may be a temperature: its 5 % quantile lies between the first two, its 95 % quantile below the last, and at
least `DEGREES` above the other."""
DEGREES: Final = 5.0
_NEARLY: Final = 1e-6

_WHAT: Final = {
    Check.OUTLIERS: "far from the reference's quartiles",
    Check.UNIT: "usual in another unit",
    Check.PRECISION: "of another precision",
}


def needs_norm(spec: ModelSpec, signal: int) -> bool:
    """Whether a spec asks for checks that go by what is usual of a signal, given by its number."""
    watched = len(spec.features) + (spec.prediction is not None)
    return spec.quality is not None and signal < watched and bool(set(spec.quality.checks) & set(NEEDS_NORM))


def fit_norm(values: Floats) -> NumberNorm | None:
    """Say what is usual of the numbers of a reference; None where there are too few.

    Parameters
    ----------
    values
        (n,) values; NaN (missing) and infinities (invalid) are passed over.
    """
    with np.errstate(invalid="ignore"):
        numbers = values[np.abs(values) <= LARGEST]
    if len(numbers) < FEWEST_VALUES:
        return None
    low, q1, q3, high = (float(each) for each in np.quantile(numbers, (0.05, 0.25, 0.75, 0.95)))
    fences = q1 - FENCE * (q3 - q1), q3 + FENCE * (q3 - q1)
    has_outliers = q1 < q3 and bool(((numbers < fences[0]) | (numbers > fences[1])).any())
    _, frequencies = np.unique(numbers, return_counts=True)
    round_shares = {grain: float(_are_whole(numbers * (1 / grain)).mean()) for grain in GRAINS}
    return NumberNorm(
        usual=(low, high),
        fences=fences if has_outliers else None,
        grain=next((grain for grain in GRAINS if round_shares[grain] <= ROUND_SHARE), None),
        whole=round_shares[1.0] == 1.0,
        varies=float(frequencies.max()) <= FREQUENT_SHARE * len(numbers),
    )


def _are_whole(ratio: Floats) -> Mask:
    """Which numbers are whole; ``ratio`` is overwritten."""
    with np.errstate(invalid="ignore"):
        ratio -= np.rint(ratio)
    return np.asarray(np.abs(ratio, out=ratio) < _NEARLY)


def intervals_of_units(norm: NumberNorm, lowest: float, highest: float) -> list[tuple[float, float]]:
    """Say where numbers lie that were usual in another unit: each wholly out of the range of the reference.

    Where the usual values are spread over so many powers of ten that some of them would be in range too, nothing can
    be told; of a temperature, the part that is out of range.
    """
    low, high = norm.usual
    found = []
    for factor in FACTORS:
        ends = sorted((low * factor, high * factor))
        if ends[0] > highest or ends[1] < lowest:
            found.append((ends[0], ends[1]))
    if CELSIUS[0] <= low <= CELSIUS[1] and low + DEGREES <= high <= CELSIUS[2]:
        found.append((max(1.8 * low + 32, float(np.nextafter(highest, np.inf))), 1.8 * high + 32))
    if FAHRENHEIT[0] <= low <= FAHRENHEIT[1] <= high <= FAHRENHEIT[2]:
        found.append(((low - 32) / 1.8, min((high - 32) / 1.8, float(np.nextafter(lowest, -np.inf)))))
    return [each for each in found if each[0] < each[1]]


class NormCheck:
    """Marks, for each of its signals, the values that are bad.

    Parameters
    ----------
    check
        One of the three.
    spec
        Where the check may be left out: it is then counted, but no rate is watched.
    signals
        The numbers among features and prediction.
    """

    carries: Mapping[str, int] = {}

    def __init__(self, check: Check, spec: ModelSpec, signals: Sequence[Binned]) -> None:
        self._check = check
        self._tiers = tiers_in(spec, check)
        places = [place for place, signal in enumerate(signals) if _applies(check, signal)]
        self._places = np.array(places, dtype=np.int64)
        self._signals = [signals[place] for place in places]
        self.width = len(self._signals)
        norms = [cast(NumberNorm, signal.norm) for signal in self._signals]
        ranges = [range_of(signal) for signal in self._signals]
        self._whole = _upright([norm.whole for norm in norms]).astype(np.bool_)
        self._per_grain = _upright([1 / (norm.grain or 1.0) for norm in norms])
        sides = ranges if check is Check.UNIT else [norm.fences or (0.0, 0.0) for norm in norms]
        self._low, self._high = (_upright([ends[side] for ends in sides]) for side in (0, 1))
        self._intervals = [intervals_of_units(norm, *ends) for norm, ends in zip(norms, ranges, strict=True)]

    def rates(self, start: int) -> Sequence[Rate]:
        """One rate for each signal, among the values that are there."""
        if self._tiers is None:
            return ()
        return [
            Rate(
                quality_signal(self._check, signal.name),
                Family.QUALITY,
                self._tiers,
                bad=(start + place,),
                rows=signal.values,
                what=_WHAT[self._check],
                importance=signal.importance,
                of_signal=signal.signal,
                by_value=True,
            )
            for place, signal in enumerate(self._signals)
        ]

    def mark(self, block: Block, carry: Carry, out: Mask) -> None:
        """Mark the values that are bad."""
        x = cast(Floats, chosen(block.x, self._places))
        if self._check is Check.PRECISION:
            np.not_equal(_are_whole(x * self._per_grain), self._whole, out=out)
        else:
            np.less(x, self._low, out=out)
            out |= x > self._high
        if not out.any():
            return
        out &= cast(Mask, chosen(block.finite, self._places))
        if self._check is Check.UNIT:
            for place in np.flatnonzero(out.any(axis=1)).tolist():
                inside = [(x[place] >= low) & (x[place] <= high) for low, high in self._intervals[place]]
                out[place] &= np.logical_or.reduce(inside)


def _upright(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64).reshape(-1, 1)


def range_of(signal: Binned) -> tuple[float, float]:
    """Return the smallest and the largest number of the reference."""
    edges = cast(NumberBinner, signal.binner).bins.edges
    return edges[0], edges[-1]


def _applies(check: Check, signal: Binned) -> bool:
    norm = signal.norm
    if norm is None:
        return False
    if check is Check.OUTLIERS:
        return norm.fences is not None
    if check is Check.PRECISION:
        return norm.whole or norm.grain is not None
    return bool(intervals_of_units(norm, *range_of(signal)))


def tiers_in(spec: ModelSpec, check: Check) -> RateTiers | None:
    """Return the tiers of a check; None where the spec has left it out."""
    return spec.quality.tiers_of(check) if spec.quality is not None and check in spec.quality.checks else None


def norm_checks(spec: ModelSpec, signals: Sequence[Binned]) -> Sequence[Part]:
    """Make the checks that a spec asks for, of the numbers that they apply to."""
    checks = () if spec.counted is None else spec.counted.checks
    made = [NormCheck(check, spec, signals) for check in checks if check in _WHAT]
    return [check for check in made if check.width]
