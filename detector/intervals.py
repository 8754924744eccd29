"""How far a score may be from its true value: 95 % intervals of one look, by the delta method.

They say how precisely a change is measured, not whether there is one: that is what evidence is for, which may be looked
at again and again, where an interval like this may not.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.scores import occupied, psi

Counts = NDArray[Any]
Floats = NDArray[np.float64]

Z: Final = 1.959964
"""Half of 95 % of a normal law lies on either side within so many standard deviations."""


def psi_interval(current: Counts, reference: Counts) -> tuple[float, float]:
    """Return the interval of a PSI with its small-sample bias removed, for counts of shape (B,).

    With p the shares now and q those of the reference, the PSI's gradient is ``log(p/q) + 1 - q/p`` in p and
    ``log(q/p) + 1 - p/q`` in q, which vanish where p = q: there the PSI is ``(1/n + 1/m)`` times a chi-square of B - 1
    degrees of freedom, whose variance is added.
    """
    seen = occupied(current, reference)
    n, m, bins = float(current.sum()), float(reference.sum()), int(seen.sum())
    score = float(psi(current, reference))
    if n <= 0 or m <= 0 or bins < 2:
        return score, score
    p, q = ((counts[seen] + 0.5) / (counts.sum() + bins / 2) for counts in (current, reference))
    now = _variance(p, np.log(p / q) + 1 - q / p) / n
    then = _variance(q, np.log(q / p) + 1 - p / q) / m
    spread = Z * float(np.sqrt(now + then + 2 * (bins - 1) * (1 / n + 1 / m) ** 2))
    return max(score - spread, 0.0), score + spread


def rise_interval(current: Counts, reference: Counts, costs: Floats) -> tuple[float, float]:
    """Return the interval of the rise of a mean loss, for counts (B,) whose rows cost ``costs`` (B,) each.

    An improvement is negative here, though the score stops at 0.
    """
    n, m = float(current.sum()), float(reference.sum())
    if n <= 0 or m <= 0:
        return 0.0, 0.0
    p, q = current / n, reference / m
    rise = float((p - q) @ costs)
    # One row more of each side's mean cost keeps a rate of 0 or 1 from being taken for certain.
    smooth = (n * p + q) / (n + 1), (m * q + p) / (m + 1)
    spread = Z * float(np.sqrt(_variance(smooth[0], costs) / n + _variance(smooth[1], costs) / m))
    return rise - spread, rise + spread


def _variance(shares: Floats, values: Floats) -> float:
    mean = float(shares @ values)
    return max(float(shares @ values**2) - mean * mean, 0.0)
