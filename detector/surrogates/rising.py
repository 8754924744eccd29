"""Evidence that the mean of bounded numbers has risen: a betting e-detector over several streams of them.

Of K streams of numbers x in [0, 1] (one for each challenger, say) the null is that the mean of each, given the past, is
at most m: its mean in a calm stretch, that mean's own uncertainty, and a rise too small to matter. A bet ``L = 1 +
lambda (x / m - 1)`` has then a mean of at most 1 whatever the distribution. Shiryaev-Roberts over steps, ``M <- (M +
1) prod L``, mixed over a grid of lambda and over the streams with weights fixed beforehand, has a mean of at most the
number of steps: an alarm at ``M >= T K`` keeps a false-alarm budget just as the engine's does (Shin, Ramdas and
Rinaldo, "E-detectors"; Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting"). Each tier
has an m of its own.

Rows that come in bursts are discounted as in `detector.evidence`: the logarithm of a bet is divided by how many rows
are worth one, measured in the calm stretch and on the live stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.dispersion import MIN_BLOCKS, LiveDispersion
from detector.ragged import Ragged
from detector.readings import TIERS
from detector.sequential import FADE_ROWS
from detector.surrogates.calm import LEVELS, WORTH, CalmStretch, levels_of

Floats = NDArray[np.float64]

FRACTIONS: Final = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95)
"""Grid of lambda: the share of what there is that is put on a rise."""
HALF_LIFE: Final = 128
"""Of the means behind the score, in rows."""
CONFIRMED: Final = 12.0
"""All streams together are believed up to so many nats more than those that are not merely supporting."""
SUPPORTING_SPAN: Final = 0.4
STAKES: Final = 4
"""Blocks of a step that begin with a fresh stake; the step's end gets what they left."""
_LOG_LAMBDAS: Final = float(np.log(len(FRACTIONS)))
_LOG_STAKE: Final = -float(np.log(STAKES))
_LAMBDAS: Final = np.array(FRACTIONS)[None, None, :, None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of the numbers.

    Attributes
    ----------
    thresholds
        Rises of the mean from which a tier is reached, in units of the score.
    tolerated
        Rises that each tier's null holds.
    span
        The score of a rise by 1. With ``relative``, of one by the calm mean.
    supporting
        So many of the streams, the last, only support the others: see `CONFIRMED`. Their span is `SUPPORTING_SPAN`.
    calm_rows
        Rows of the calm stretch, at the least.
    skipped_rows
        Rows before it: what is learned from the first rows says little.
    """

    thresholds: tuple[float, float, float]
    tolerated: tuple[float, float, float]
    span: float = 1.0
    relative: bool = False
    supporting: int = 0
    calm_rows: int = 400
    skipped_rows: int = 0
    lowers: bool = False
    """Whether the calm mean is lowered where later rows are surely better: of a model that keeps learning."""


class RisingMeans:
    """Watches K streams.

    Parameters
    ----------
    streams
        K.
    asked
        What is asked.
    """

    def __init__(self, streams: int, asked: Asked) -> None:
        self._streams, self._asked = streams, asked
        self.speaking = streams - asked.supporting
        """So many streams, the first, speak for themselves."""
        self._span: Floats = np.full(streams, asked.span)
        self._span[self.speaking :] = SUPPORTING_SPAN
        self._calm = CalmStretch(streams, asked.calm_rows, asked.skipped_rows, learning=asked.lowers)
        self._log_m = np.full((TIERS, streams, len(FRACTIONS)), -np.inf)
        self._recent = np.zeros((4, streams))
        """Decayed sums of weights, squared weights, x and x squared."""
        self._step_counts = np.zeros((streams, LEVELS))
        self._staked = 0
        """Blocks of the step so far that began with a fresh stake."""
        self._live = self._make_live()

    @property
    def calm(self) -> bool:
        """Whether the calm stretch was measured."""
        return self._calm.over

    @property
    def collected(self) -> int:
        """Rows of the calm stretch so far."""
        return self._calm.collected

    @property
    def mean(self) -> Floats:
        """The calm mean, (K,)."""
        return self._calm.mean

    def take(self, x: Floats) -> None:
        """Take the numbers of some rows, (K, n): for the calm stretch as long as it lasts, then for the step."""
        if not self._calm.over:
            x = self._calm.take(x)
            self._live = self._make_live()
        if self._calm.over and x.shape[1]:
            self._count(x)

    def take_calm(self, x: Floats) -> None:
        """Take numbers of the reference for the calm stretch, however many, without skipping any; `settle` ends it."""
        self._calm.take_reference(x)

    def settle(self, *, at_least: float = 0.0, error: float | None = None) -> None:
        """Measure the calm stretch if it has enough rows (`CalmStretch.settle`); evidence is gathered from then on."""
        if self._calm.settle(at_least=at_least, error=error):
            self._live = self._make_live()

    def step(self) -> bool:
        """End the step; return whether it had rows."""
        counts = self._step_counts
        rows = counts.sum(axis=1)
        if not rows.any():
            return False
        self._log_m -= (rows / self.phi())[:, None] * (np.log(2) / FADE_ROWS)
        if self._staked < STAKES:
            self._log_m = np.logaddexp(self._log_m, np.log(1 - self._staked / STAKES))
        excess = counts - rows[:, None] * self._calm.shares
        self._live.update(excess.ravel(), rows, np.zeros(self._streams))
        if not self.measured:
            self._log_m = np.full_like(self._log_m, -np.inf)
        self._step_counts, self._staked = np.zeros_like(counts), 0
        return True

    def phi(self) -> Floats:
        """Rows worth one independent row, (K,)."""
        return np.asarray(np.maximum(self._calm.phi, self._live.phi()[0]))

    @property
    def measured(self) -> bool:
        """Whether enough steps were seen to tell how bursty the rows are."""
        return bool(self._live.measured.all())

    @property
    def steps_missing(self) -> int:
        """Steps until they are enough."""
        return max(MIN_BLOCKS - int(self._live.differences[0].min()), 0)

    def evidence_by_stream(self) -> Floats:
        """Nats against each tier's null of each stream, at least 0: (3, K)."""
        return np.asarray(np.maximum(np.logaddexp.reduce(self._log_m, axis=2) - _LOG_LAMBDAS, 0.0))

    def evidence(self) -> tuple[float, float, float]:
        """Nats against each tier's null, all streams together: the log of the mean of M, as far as it is confirmed."""
        each = self.evidence_by_stream()
        mixed = np.logaddexp.reduce(each, axis=1) - np.log(self._streams)
        spoken = np.logaddexp.reduce(each[:, : self.speaking], axis=1) - np.log(self.speaking)
        believed = np.minimum(mixed, spoken + CONFIRMED) if self._asked.supporting else mixed
        minor, moderate, significant = np.maximum(believed, 0.0).tolist()
        return minor, moderate, significant

    def recent(self) -> tuple[Floats, Floats, Floats]:
        """Return the mean of recent rows, its variance of one row, and how many independent rows it rests on: (K,)."""
        weight, squares, x, xx = self._recent
        mean = np.where(weight > 0, x / np.maximum(weight, 1e-300), self.mean)
        variance = np.maximum(xx / np.maximum(weight, 1e-300) - mean**2, 0.0)
        return mean, variance, weight**2 / np.maximum(squares, 1e-300) / self.phi()

    def score(self, rise: Floats) -> Floats:
        """Turn a rise of the mean into a score, (K,)."""
        unit = self._span / np.maximum(self.mean, 1e-6) if self._asked.relative else self._span
        return np.asarray(rise * unit)

    def reset(self, *, above: int = 0) -> None:
        """Forget the evidence of the tiers from ``above`` on."""
        self._log_m[above:] = -np.inf

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        arrays = {name: getattr(self, f"_{name}").copy() for name in _ARRAYS}
        return {**arrays, "staked": self._staked, "calm": self._calm.state(), "live": self._live.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, to the last bit.

        Raises
        ------
        ValueError
            If it is of another number of streams.
        """
        if state["log_m"].shape != self._log_m.shape:
            raise ValueError("saved evidence of a surrogate does not fit: it is of another number of models")
        for name in _ARRAYS:
            setattr(self, f"_{name}", state[name].copy())
        self._staked = state["staked"]
        self._calm.restore(state["calm"])
        self._live = self._make_live()
        self._live.restore(state["live"])

    def _make_live(self) -> LiveDispersion:
        layout = Ragged([LEVELS] * self._streams)
        ordered = np.ones(self._streams, dtype=np.bool_)
        return LiveDispersion(layout, self._calm.shares.ravel(), ordered, worth=np.tile(WORTH, self._streams))

    def _count(self, x: Floats) -> None:
        """Bet on numbers, with stakes chosen before they were seen."""
        bound = np.clip(self.mean + self._calm.error + self._tolerance(), 1e-6, 1.0)
        phi = self.phi()
        bets = np.log1p(_LAMBDAS * (x[None, :, None, :] / bound[:, :, None, None] - 1)).sum(axis=3)
        if self._staked < STAKES:
            self._log_m, self._staked = np.logaddexp(self._log_m, _LOG_STAKE), self._staked + 1
        self._log_m += bets / phi[:, None]
        self._step_counts += np.stack([np.bincount(each, minlength=LEVELS) for each in levels_of(x)])
        keep = 0.5 ** (x.shape[1] / HALF_LIFE)
        fresh = np.stack(
            [np.full(self._streams, x.shape[1]), np.full(self._streams, x.shape[1]), x.sum(1), (x**2).sum(1)]
        )
        self._recent = self._recent * np.array([keep, keep**2, keep, keep])[:, None] + fresh
        self._calm.follow(fresh[1:], phi, streams=self.speaking)

    def _tolerance(self) -> Floats:
        """Rise of the mean that each tier's null holds, (3, K)."""
        unit = self.score(np.ones(self._streams))
        return np.array(self._asked.tolerated)[:, None] / np.maximum(unit, 1e-9)


_ARRAYS: Final = ("log_m", "recent", "step_counts")
