"""Absolute limits of metrics: whether one is surely broken, whatever the reference was.

Each limit is a null hypothesis, "the metric keeps its limit", against which evidence is gathered (nats). How, and what
holds, depends on the metric:

=====================================  ==========================================================================
``accuracy``; of two classes also      A bet on each cell of the confusion table. The metric is below c exactly
``precision``, ``recall``, ``f1``      where the mean of a payoff is above 0 (of ``f1``: c for each error, less
                                       2 (1 - c) for each true positive). Valid at any time
``log_loss``, ``brier``, ``mae``,      Bets on the loss itself (`detector.bets`). Valid at any time
``mse``, ``rmse``, ``pinball``
``auc``, ``calibration_error``; of     No mean of rows: judged over windows of 1,000, 4,000 and 16,000 labelled rows,
several classes ``precision``,         each by itself, by the normal approximation of its estimate. As many looks as
``recall``, ``f1``                     the budget has steps are allowed for, for each of the three; but it is an
                                       approximation, and used far out in the tail
=====================================  ==========================================================================

"Valid at any time": the probability that evidence ever reaches the threshold while the limit is kept is what the
false-alarm budget allows (an e-detector, `detector.sequential`), if rows are independent or the burstiness that
evidence is divided by is right. A limit that is broken has the tier that the spec gives it; it holds again after
``tiers.quiet_steps`` steps with labels in whose recent rows the metric keeps the limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detector.bets import BET_UNIT, LAMBDAS, LIMITED, payoffs
from detector.incidents import Member
from detector.layout import Layout
from detector.performance import MEASURES, PairTables
from detector.readings import SignalReading
from schemas.model_spec import Task
from schemas.outbound import BEYOND_LIMIT, DriftKind, SignalStatus, SignalVerdict, Tier
from schemas.performance import HIGHER_IS_BETTER, Metric

Floats = NDArray[np.float64]

WINDOW_ROWS: Final = (1_000, 4_000, 16_000)
"""Labelled rows after which a metric that is no mean is judged."""
RECENT_ROWS: Final = 512.0
"""Half-life, in labelled rows, of the value that is compared with the limit and reported."""
FADE_ROWS: Final = 65_536.0
"""As in `detector.sequential`: evidence halves of itself."""
_STATE: Final = ("recent", "windows", "tallies", "window_rows")
_SHARES_BET: Final = np.array(LAMBDAS)


def limit_signal(metric: Metric) -> str:
    """Name what watches a limit."""
    return f"limit:{metric}"


@dataclass(frozen=True, slots=True)
class LimitReading:
    """Where a limit stands after a step.

    Attributes
    ----------
    beyond
        How far the metric is on the wrong side of its limit, at least 0.
    evidence
        Nats against "the limit is kept".
    """

    name: str
    metric: Metric
    limit: float
    tier: Tier
    value: float | None
    interval: tuple[float, float] | None
    rows: float
    beyond: float
    evidence: float


@dataclass(slots=True)
class _Standing:
    """What is kept of one limit."""

    log_m: Floats = field(default_factory=lambda: np.full(len(LAMBDAS), -np.inf))
    windows: Floats = field(default_factory=lambda: np.zeros(len(WINDOW_ROWS)))
    """Evidence of the last window of each length, for metrics that are no mean."""
    broken: bool = False
    quiet: int = 0


class Limits:
    """The limits of one model version in one stage; most specs have none.

    Parameters
    ----------
    layout
        Of the spec.
    log_threshold
        Evidence asked for, in nats.
    """

    def __init__(self, layout: Layout, *, log_threshold: float) -> None:
        spec = layout.spec
        outcomes = spec.outcomes if spec.loss is not None else None
        self._layout, self._threshold, self._quiet_steps = layout, log_threshold, spec.tiers.quiet_steps
        self._limits = dict(outcomes.limits) if outcomes is not None else {}
        self._tier = Tier(outcomes.limit_tier) if outcomes is not None else Tier.NONE
        self._payoffs = {
            metric: payoffs(metric, limit, len(layout.pairs.classes), binary=spec.task is Task.BINARY)
            for metric, limit in self._limits.items()
        }
        self._standings = {metric: _Standing() for metric in self._limits}
        width = layout.pairs.width if self._limits else 0
        self.recent, self.windows = np.zeros(width), np.zeros((len(WINDOW_ROWS), width))
        self.tallies, self.window_rows = np.zeros(2), np.zeros(len(WINDOW_ROWS))
        """Sum of the weights of recent labels and of their squares; labels in each window."""
        self._burst = 1.0
        self._readings: Sequence[LimitReading] = self._read()

    @property
    def names(self) -> tuple[str, ...]:
        """What watches the limits, in the order of the readings."""
        return tuple(map(limit_signal, self._limits))

    def step(self, vector: NDArray[np.int64], burst: float) -> None:
        """Take in a step's rows, given as one vector of the layout.

        Parameters
        ----------
        burst
            Rows that are worth one independent row, as known before the step.
        """
        rows = self._layout.label_rows(vector) if self._limits else 0
        if not rows:
            return
        pairs = vector[self._layout.pairs.start :][: self._layout.pairs.width]
        keep = 2.0 ** (-rows / RECENT_ROWS)
        self.recent = self.recent * keep + pairs
        self.tallies = self.tallies * [keep, keep**2] + rows
        self.windows, self.window_rows = self.windows + pairs, self.window_rows + rows
        self._burst = burst
        full = np.flatnonzero(self.window_rows >= WINDOW_ROWS).tolist()
        for metric, standing in self._standings.items():
            increment = self._increment(metric, vector)
            if increment is not None:
                fed = np.logaddexp(standing.log_m - rows * (np.log(2) / FADE_ROWS), 0.0)
                standing.log_m = fed + increment / burst
            else:
                for place in full:
                    standing.windows[place] = self._window_evidence(metric, self.windows[place])
        self.windows[full], self.window_rows[full] = 0.0, 0.0
        self._readings = [self._moved(reading) for reading in self._read()]

    def _increment(self, metric: Metric, vector: NDArray[np.int64]) -> Floats | None:
        """What the step adds to the log of a player's money, for each share that is bet; None where none can be."""
        pairs, payoff = self._layout.pairs, self._payoffs[metric]
        if metric in LIMITED:
            place = pairs.slices["bets"].start
            for bets in pairs.bets:
                if bets.metric is metric:
                    return vector[place + 1 : place + bets.width] / BET_UNIT
                place += bets.width
        if payoff is None:
            return None
        return np.log1p(_SHARES_BET[:, None] * payoff) @ pairs.of(vector, "confusion")

    def _window_evidence(self, metric: Metric, window: Floats) -> float:
        """Minus the logarithm of the p-value of "the limit is kept", by the normal approximation."""
        measure = MEASURES[metric](self._tables(window, 1 / self._burst))
        if measure is None or measure.error <= 0:
            return 0.0
        distance = self._limits[metric] - measure.value
        z = (distance if metric in HIGHER_IS_BETTER else -distance) / measure.error
        return float(max(-special.log_ndtr(-z) - np.log(len(WINDOW_ROWS)), 0.0))

    def _tables(self, pairs: NDArray[Any], weight: float) -> PairTables:
        """Read counts of the pairs alone."""
        whole = np.concatenate([np.zeros(self._layout.pairs.start), pairs])
        return PairTables.of(self._layout.pairs, whole, weight)

    def _moved(self, reading: LimitReading) -> LimitReading:
        """Decide whether a limit is broken, or holds again, and say so."""
        standing = self._standings[reading.metric]
        if not standing.broken:
            standing.broken, standing.quiet = reading.beyond > 0 and reading.evidence >= self._threshold, 0
        elif reading.beyond > 0:
            standing.quiet = 0
        else:
            standing.quiet += 1
            if standing.quiet >= self._quiet_steps:
                self._standings[reading.metric] = standing = _Standing()
        return replace(reading, tier=self._tier if standing.broken else Tier.NONE)

    def readings(self) -> Sequence[LimitReading]:
        """Say where each limit stands."""
        return self._readings

    def _read(self) -> Sequence[LimitReading]:
        weight = float(self.tallies[0] / self.tallies[1]) / self._burst if self.tallies[1] > 0 else 1.0
        tables = self._tables(self.recent, weight)
        return [self._reading(metric, limit, tables) for metric, limit in self._limits.items()]

    def _reading(self, metric: Metric, limit: float, tables: PairTables) -> LimitReading:
        standing, measure = self._standings[metric], MEASURES[metric](tables)
        is_mean = metric in LIMITED or self._payoffs[metric] is not None
        evidence = special.logsumexp(standing.log_m) - np.log(len(LAMBDAS)) if is_mean else standing.windows.max()
        distance = 0.0 if measure is None else limit - measure.value
        return LimitReading(
            name=limit_signal(metric),
            metric=metric,
            limit=limit,
            tier=self._tier if standing.broken else Tier.NONE,
            value=None if measure is None else measure.value,
            interval=None if measure is None else (measure.low, measure.high),
            rows=0.0 if measure is None else measure.rows,
            beyond=max(distance if metric in HIGHER_IS_BETTER else -distance, 0.0),
            evidence=max(float(evidence), 0.0),
        )

    def signals(self) -> list[SignalReading]:
        """Return the readings as those of signals that may be members of an incident."""
        nothing = np.zeros(0)
        return [
            SignalReading(
                each.name, each.beyond, each.beyond, (each.evidence,) * 3, each.rows, 0, nothing, nothing, None
            )
            for each in self.readings()
        ]

    def evidence(self) -> list[tuple[float, float, float]]:
        """Evidence of each limit as it stands now, in nats: the same for all tiers."""
        return [(each.evidence,) * 3 for each in self._read()]

    def statuses(self) -> tuple[SignalStatus, ...]:
        """Where the limits stand, for people."""
        return tuple(
            SignalStatus(
                signal=each.name,
                tier=each.tier,
                score=round(each.beyond, 6),
                evidence=round(each.evidence, 3),
                threshold=round(self._threshold, 3),
            )
            for each in self.readings()
        )

    def verdict(self, member: Member) -> SignalVerdict:
        """Say what a broken limit means."""
        each = next(reading for reading in self.readings() if reading.name == member.name)
        side = -1.0 if each.metric in HIGHER_IS_BETTER else 1.0
        beyond = sorted(side * (end - each.limit) for end in each.interval or ())
        return SignalVerdict(
            signal=each.name,
            kind=DriftKind.PERFORMANCE,
            tier=member.tier,
            score=round(member.score, 6),
            score_name=BEYOND_LIMIT,
            score_interval=(round(beyond[0], 6), round(beyond[1], 6)) if beyond else None,
            evidence=round(member.evidence, 3),
            threshold=round(self._threshold, 3),
            rows=round(each.rows, 1),
            expected_mean=each.limit,
            actual_mean=each.value,
        )

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        standings = {
            metric.value: {
                "log_m": each.log_m.copy(),
                "windows": each.windows.copy(),
                "broken": each.broken,
                "quiet": each.quiet,
            }
            for metric, each in self._standings.items()
        }
        arrays = {name: getattr(self, name).copy() for name in _STATE}
        return {"standings": standings, "burst": self._burst, **arrays}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state of the same spec; one of an earlier version of driftline has none."""
        if not state:
            return
        self._standings = {Metric(name): _Standing(**each) for name, each in state["standings"].items()}
        for name in _STATE:
            setattr(self, name, state[name].copy())
        self._burst = state["burst"]
        self._readings = self._read()
