"""The e-detector: evidence against a ball of distributions, for every signal and alternative at once.

The null is not "the shares are p" but every p' with ``KL(p || p') <= r``: the reference is only an estimate, and a
change too small to matter is no drift. An alternative q bets against that ball by ``q / p*``, where
``p* = (1 - eta) p + eta q`` lies on the ball's surface: p* is the reverse information projection of q, so that
``E_p'[q / p*] <= 1`` for each p' in the ball. Then Shiryaev-Roberts: ``M <- (M + 1) q(rows) / p*(rows)``, whose mean
under the null is at most the number of steps, so that an alarm at ``M >= T K`` has a mean time to a false alarm of T
steps for K signals (Shin, Ramdas and Rinaldo, "E-detectors").

Everything that only makes M smaller keeps this: no ``+ 1`` where nothing is bet (q inside the ball), a slow leak, and
starting late or dropping M to zero, as long as the choice is made before the rows are seen.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import special

from detector.ragged import Floats, Ragged

CONFIDENCE: Final = 0.99
FADE_ROWS: Final = 65_536.0
"""Effective rows in which evidence halves of itself, so that what was nearly enough long ago is forgotten."""

_ITERATIONS: Final = 3


def log_threshold(period_s: float, step_interval_s: float, signals: int, alarms: float) -> float:
    """Evidence, in nats, that a budget of ``alarms`` in ``period_s`` seconds asks of each of ``signals`` signals.

    The union bound over the steps of the period, ``step_interval_s`` seconds apart at the densest, and the signals.

    Raises
    ------
    ValueError
        If one of the numbers is not positive.
    """
    if min(period_s, step_interval_s, signals, alarms) <= 0:
        raise ValueError("a false-alarm budget needs a positive period, step interval, number of signals and of alarms")
    return float(np.log(max(period_s / step_interval_s * signals / alarms, 1.0)))


def ball_radius(bins: Floats, rows: Floats, tolerance: Floats | float) -> Floats:
    """Radius r, in nats of KL(p || p'), of the null around shares estimated from ``rows`` independent rows.

    ``(sqrt(chi2_{0.99, B-1} / (2 N)) + sqrt(tau / 2))^2``: how far the estimate may be from the truth, and on top of
    that a change too small to matter, ``tolerance`` tau on PSI's scale (PSI is about twice the KL divergence).
    """
    own = special.chdtri(np.maximum(bins - 1, 1), 1 - CONFIDENCE) / (2 * rows)
    return np.asarray((np.sqrt(own) + np.sqrt(np.asarray(tolerance) / 2)) ** 2)


def tilt(shares: Floats, ranks: Floats, strengths: Floats, layout: Ragged) -> Floats:
    """Tilt shares (T,) by ``exp(t rank)`` for each strength t: alternatives (A, T) that need no learning."""
    weighted = shares * np.exp(strengths[:, None] * ranks)
    return np.asarray(weighted / layout.spread(layout.sum(weighted)))


def log_bets(shares: Floats, alternatives: Floats, radius: Floats, layout: Ragged) -> tuple[Floats, Floats]:
    """Return log(q / p*) of each bin (A, T), and 1 where an alternative lies outside the ball, else 0 (A, S).

    Finds eta with ``g(eta) = KL(p || (1 - eta) p + eta q) = r`` from ``eta = sqrt(2 r / chi2(q, p))``. Newton's steps
    on sqrt(g), which is nearly straight, converge at once; g is convex and increasing, so that a last plain one lands
    at the root or beyond it from wherever it starts. Beyond is the safe side: the projection on a larger ball.

    Parameters
    ----------
    shares : (T,)
        p, positive, each signal's summing to 1.
    alternatives : (A, T)
        q, likewise.
    radius : (S,)
        r of each signal, positive.
    """
    ratio = alternatives / shares
    excess = ratio - 1
    spread = layout.sum(shares * excess * excess)
    eta = np.minimum(1.0, np.sqrt(2 * radius / np.maximum(spread, 1e-300)))
    goal, weighted = np.sqrt(radius), shares * excess
    for left in reversed(range(_ITERATIONS)):
        mixed = 1 + layout.spread(eta) * excess
        distance = np.maximum(-layout.sum(shares * np.log(mixed)), 1e-12)
        slope = np.minimum(layout.sum(weighted / mixed), -1e-12)
        root = np.sqrt(distance)
        step = 2 * root * (root - goal) if left else distance - radius
        eta = np.minimum(np.maximum(eta + step / slope, 1e-9), 1.0)
    outside = (eta < 1.0).astype(np.float64)
    return layout.spread(outside) * np.log(ratio / (1 + layout.spread(eta) * excess)), outside


def advance(log_m: Floats, increment: Floats, entering: Floats, rows: Floats) -> Floats:
    """Move log M (A, S) by one step: ``M <- (M 2^(-rows / FADE_ROWS) + entering) e^increment``.

    ``increment`` (A, S) is the log likelihood ratio of the step's rows, ``entering`` is 1 where a bet is made, and
    ``rows`` (S,) counts effective rows; a signal with none stays as it is.
    """
    faded = log_m - rows * (np.log(2) / FADE_ROWS)
    with np.errstate(divide="ignore"):
        fed = np.logaddexp(faded, np.log(entering))
    return np.where(rows > 0, fed + increment, log_m)


def mixture(log_m: Floats, log_weights: Floats) -> Floats:
    """Evidence in nats: log of the weighted mean of M over the alternatives, the axis before the last."""
    weighted = log_m + log_weights[:, None]
    largest = np.maximum(weighted.max(axis=-2), -700.0)
    with np.errstate(divide="ignore"):
        return np.asarray(largest + np.log(np.exp(weighted - largest[..., None, :]).sum(axis=-2)))
