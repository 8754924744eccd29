"""How large a change is: distances between the binned rows seen now and the reference's.

Every function takes counts of shape ``(..., B)``, now and in the reference, and returns an array of shape ``(...)``.
Decayed counts are welcome: what is taken for the number of rows is their sum. Bins that neither has seen do not count,
so arrays may be padded with zeros. Without rows on either side the score is 0.

Small samples make every distance too large. ``corrected=True``, the default, subtracts what two samples of one
distribution give on average, from the score itself where it is a mean of squares (PSI) and from its square elsewhere,
so that a large distance is hardly touched. ``corrected=False`` is the textbook's number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

Counts = NDArray[Any]
"""Rows per bin, shape (..., B): integers, or floats where rows have decayed."""
Floats = NDArray[np.float64]

_KOLMOGOROF_MEAN_SQUARE: Final = np.pi**2 / 12
"""Of the limit law of sqrt(n m / (n + m)) D for a continuous variable."""
_GRID: Final = 0.5826
"""-zeta(1/2) / sqrt(2 pi): how far the maximum of a Brownian path on a grid stays below the path's (Chernoff 1965)."""


def occupied(current: Counts, reference: Counts) -> NDArray[np.bool_]:
    """Tell which bins hold rows now or in the reference, shape (..., B)."""
    return (current > 0) | (reference > 0)


def psi(current: Counts, reference: Counts, *, corrected: bool = True) -> Floats:
    """Population stability index, ``sum (p - q) log(p / q)``: 0.1 is a minor, 0.25 a significant change to most.

    Shares are smoothed by half a row in each occupied bin, so that an empty bin is finite. Two samples of one
    distribution give about ``(B - 1) (1/n + 1/m)``, which the ``B/2`` rows of smoothing turn into
    ``(B - 1) (n/(n + B/2)^2 + m/(m + B/2)^2)``.
    """
    terms = psi_terms(current, reference)
    total = terms.sum(axis=-1)
    if not corrected:
        return np.asarray(total)
    bins = occupied(current, reference).sum(axis=-1)
    n, m = _rows(current), _rows(reference)
    smoothed = [np.maximum(rows + bins / 2, 1) for rows in (n, m)]
    bias = (bins - 1) * (n / smoothed[0] ** 2 + m / smoothed[1] ** 2)
    return np.where((n > 0) & (m > 0), np.maximum(total - bias, 0.0), 0.0)


def psi_terms(current: Counts, reference: Counts) -> Floats:
    """Return what each bin adds to the PSI, shape (..., B): which bins changed most."""
    seen = occupied(current, reference)
    half = 0.5 * seen
    spread = half.sum(axis=-1, keepdims=True)
    n, m = _rows(current)[..., None], _rows(reference)[..., None]
    judged = seen & (n > 0) & (m > 0)
    p = np.divide(current + half, n + spread, out=np.ones(judged.shape), where=judged)
    q = np.divide(reference + half, m + spread, out=np.ones(judged.shape), where=judged)
    return np.asarray((p - q) * np.log(p / q))


def jensen_shannon(current: Counts, reference: Counts, *, corrected: bool = True) -> Floats:
    """Jensen-Shannon distance, base 2: 0 for equal shares, 1 for shares that never meet.

    Near equality the divergence is an eighth of the chi-square distance, so that its null mean is
    ``(B - 1) (1/n + 1/m) / 8`` nats.
    """
    p, q = _shares(current), _shares(reference)
    middle = (p + q) / 2
    divergence = (special.rel_entr(p, middle) + special.rel_entr(q, middle)).sum(axis=-1) / 2
    return _root((divergence - corrected * _freedom(current, reference) / 8) / np.log(2), current, reference)


def hellinger(current: Counts, reference: Counts, *, corrected: bool = True) -> Floats:
    """Hellinger distance, ``sqrt(sum (sqrt p - sqrt q)^2 / 2)``, 0 to 1; null mean square ``(B-1)(1/n+1/m)/8``."""
    squares = (np.sqrt(_shares(current)) - np.sqrt(_shares(reference))) ** 2
    return _root(squares.sum(axis=-1) / 2 - corrected * _freedom(current, reference) / 8, current, reference)


def chi_square(current: Counts, reference: Counts, *, corrected: bool = True) -> Floats:
    """Cramer's V of the table (now, reference) x bins, both samples given the same weight, 0 to 1.

    ``sqrt(sum (p - q)^2 / (2 (p + q)))``: the usual V shrinks as the reference grows, though the change is the same.
    Its square has null mean ``(B - 1) (1/n + 1/m) / 4``.
    """
    p, q = _shares(current), _shares(reference)
    total = p + q
    terms = np.divide((p - q) ** 2, 2 * total, out=np.zeros(total.shape), where=total > 0)
    return _root(terms.sum(axis=-1) - corrected * _freedom(current, reference) / 4, current, reference)


def chi_square_test(current: Counts, reference: Counts) -> tuple[Floats, Floats]:
    """Pearson's test of homogeneity: statistic and p-value, for one look at independent rows."""
    n, m = _rows(current)[..., None], _rows(reference)[..., None]
    both = current + reference
    expected = both * n / np.maximum(n + m, 1)
    parts = np.divide((current - expected) ** 2, expected, out=np.zeros(both.shape), where=expected > 0)
    statistic = parts.sum(axis=-1) * np.where(m > 0, (n + m) / np.maximum(m, 1), 0.0)[..., 0]
    freedom = np.maximum(occupied(current, reference).sum(axis=-1) - 1, 0)
    return statistic, np.where(freedom > 0, special.chdtrc(np.maximum(freedom, 1), statistic), 1.0)


def ks(current: Counts, reference: Counts, *, corrected: bool = True) -> Floats:
    """Kolmogorov-Smirnov distance on ordered bins: how far the distribution functions are apart at a bin's edge.

    For B equal bins its null mean square is about ``(pi / sqrt 12 - 0.58 / sqrt B)^2 (1/n + 1/m)``.
    """
    gaps = np.abs(np.cumsum(_shares(current) - _shares(reference), axis=-1)).max(axis=-1)
    bins = np.maximum(occupied(current, reference).sum(axis=-1), 1)
    null = np.where(bins > 1, (np.sqrt(_KOLMOGOROF_MEAN_SQUARE) - _GRID / np.sqrt(bins)) ** 2, 0.0)
    return _root(gaps**2 - corrected * null * _noise(current, reference), current, reference)


def wasserstein(current: Counts, reference: Counts, positions: Floats, *, corrected: bool = True) -> Floats:
    """Wasserstein distance on ordered bins, in the unit of ``positions``: give them in sd of the reference.

    ``positions`` (B,) holds what stands for each bin, ascending; NaN for bins without a number (missing, invalid),
    which are left out. Each gap between bins has null mean ``sqrt(2/pi F (1 - F) (1/n + 1/m))``.
    """
    numbers = ~np.isnan(positions)
    now, before, at = current[..., numbers], reference[..., numbers], positions[numbers]
    p, q = _shares(now), _shares(before)
    steps = np.diff(at)
    distance = (np.abs(np.cumsum(p - q, axis=-1))[..., :-1] * steps).sum(axis=-1)
    f = np.clip(np.cumsum(q, axis=-1)[..., :-1], 0.0, 1.0)
    null = (np.sqrt(2 / np.pi * f * (1 - f) * _noise(now, before)[..., None]) * steps).sum(axis=-1)
    return _root(distance**2 - corrected * null**2, now, before)


def _rows(counts: Counts) -> Floats:
    return np.asarray(counts.sum(axis=-1), dtype=np.float64)


def _shares(counts: Counts) -> Floats:
    return np.asarray(counts / np.maximum(_rows(counts), np.finfo(np.float64).tiny)[..., None])


def _noise(current: Counts, reference: Counts) -> Floats:
    """``1/n + 1/m``: the variance of a difference of shares in units of one row's."""
    return np.asarray(1 / np.maximum(_rows(current), 1) + 1 / np.maximum(_rows(reference), 1))


def _freedom(current: Counts, reference: Counts) -> Floats:
    """``(B - 1) (1/n + 1/m)``: the null mean of the chi-square distance."""
    return np.asarray((occupied(current, reference).sum(axis=-1) - 1) * _noise(current, reference))


def _root(square: Floats, current: Counts, reference: Counts) -> Floats:
    """Square root of what is left of a squared distance; 0 without rows on both sides."""
    both = (_rows(current) > 0) & (_rows(reference) > 0)
    return np.where(both, np.sqrt(np.maximum(square, 0.0)), 0.0)


@dataclass(frozen=True, slots=True)
class Score:
    """A distance, and which signals it is defined for."""

    function: Callable[..., Floats]
    ordered: bool = False
    """Only where the bins have an order."""
    positioned: bool = False
    """Takes the bins' positions."""


def measure(
    current: Counts, reference: Counts, *, ordered: bool, positions: Floats | None = None
) -> Mapping[str, float]:
    """Give every score that is defined for one signal, by name; ``current`` and ``reference`` of shape (B,)."""
    found = {}
    for name, score in SCORES.items():
        if score.positioned:
            if positions is not None:
                found[name] = float(score.function(current, reference, positions))
        elif ordered or not score.ordered:
            found[name] = float(score.function(current, reference))
    return found


SCORES: Final[Mapping[str, Score]] = {
    "psi": Score(psi),
    "js": Score(jensen_shannon),
    "hellinger": Score(hellinger),
    "chi_square": Score(chi_square),
    "ks": Score(ks, ordered=True),
    "wasserstein": Score(wasserstein, positioned=True),
}
