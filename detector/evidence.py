"""How sure a change is: an e-detector for each binned signal of a model, and the score that goes with it.

A step brings counts; what is bet on them was learned from earlier steps only. Per signal there are twelve
alternatives: the recent past with four half-lives, and eight tilts of the reference along its ranks (for signals
without an order: along the frequency of their bins), which lose no time learning. Each tier has a null of its own, a
ball around the reference as large as a fifteenth of the tier's score, so that escalation is as anytime-valid as
opening. The balls of the higher tiers are watched only while there is some evidence against the smallest one: decided
before the step's rows are seen, so that starting late and dropping to nothing keep them valid.

Evidence of rows that come in bursts is divided by how many of them say something new (`detector.dispersion`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector import scores
from detector.dispersion import MIN_BLOCKS, LiveDispersion, mid_ranks
from detector.expectation import CACHED_PHASES, WHOLE, Expectation, Expected
from detector.improvement import Improvement
from detector.losses import Losses
from detector.ragged import Floats, Indices, Ragged
from detector.readings import TIERS, SignalBaseline, SignalReading
from detector.recent import HALF_LIVES, RecentRows
from detector.sequential import advance, ball_radius, log_bets, mixture, tilt

TILTS: Final = (-3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0)
TOLERATED: Final = 1 / 15
"""Share of a tier's score that its null holds, on PSI's scale (measured: docs/decisions/0006)."""

_STRENGTHS: Final = np.array(TILTS)
_LOG_WEIGHTS: Final = np.log(np.repeat([0.5 / len(HALF_LIVES), 0.5 / len(TILTS)], [len(HALF_LIVES), len(TILTS)]))
FEWEST_ROWS: Final = 15.0
"""Independent rows that a reference must be worth, and as many as the signal has bins. Its uncertainty is in the null,
so that a small one finds only large changes (measured: docs/decisions/0007)."""
LEARNING_NATS: Final = float(-_LOG_WEIGHTS.min())
"""What it costs that many alternatives are bet on at once: the share of one of them."""
_WAKE: Final = 2.0
"""Nats against the minor null from which the higher tiers are watched."""
_QUIETEST: Final = np.array([0.0, 4.0, 32.0])
"""Burstiness beyond which the score that says whether a change is over has a half-life of 128, 1024 and 8192 rows:
so that about a hundred independent rows are behind it."""
_HIDDEN: Final = 2.0
"""So many times as bursty as the reference, a stream's burstiness rests on what was seen of the stream alone: then it
takes ``_UNCONFIRMED_BLOCKS`` steps compared, not 16, before there is evidence."""
_UNCONFIRMED_BLOCKS: Final = 64.0
_SKILL_ROWS: Final = 512.0
"""Effective rows in which a half-life's past success counts for half."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of a step that fell in one phase: counts (T,) and rows (S,)."""

    phase: int
    expected: Expected
    counts: Floats
    rows: Floats


class EvidenceEngine:
    """The detectors of all signals of one model version.

    Parameters
    ----------
    baselines
        At least one; their bins keep their number and meaning.
    log_threshold
        Evidence that opens an incident, in nats (`sequential.log_threshold`): kept for those who read the readings.
    """

    def __init__(self, baselines: Sequence[SignalBaseline], *, log_threshold: float) -> None:
        self.baselines, self.log_threshold = tuple(baselines), log_threshold
        self._layout = layout = Ragged([len(each.phases[WHOLE]) for each in baselines])
        self._ordered = ordered = np.array([each.ordered for each in baselines])
        rates = np.array([each.is_rate for each in baselines])
        self._losses = Losses([each.losses for each in baselines], layout, rates)
        self._burst: Floats = np.maximum([each.dispersion for each in baselines], 1.0)
        self._needed_rows = np.maximum(FEWEST_ROWS, layout.sizes)
        self._expectation = Expectation([each.phases for each in baselines], layout, self._burst)
        self._bins = self._losses.directions(self._expectation.bins, ordered)
        self._seasonal = any(len(each.phases) > 1 for each in baselines)
        self._thresholds = np.array([each.thresholds for each in baselines]).T
        self._improvement = Improvement(layout, self._losses, np.array([each.follows for each in baselines]))
        self._expect()
        self._live = LiveDispersion(layout, self._expectation.of(WHOLE).shares, ordered)
        self._worth = self._dispersion()
        self._recent = RecentRows(layout, self._expectation)
        self._log_m = np.full((TIERS, len(_LOG_WEIGHTS), layout.signals), -np.inf)
        self._skill = np.zeros((len(HALF_LIVES), layout.signals))
        """Recent gains of each half-life's bets against the minor null, in nats: by which the score's is chosen."""
        self._evidence = self._weighed()

    def step(self, counts: Mapping[int, Sequence[NDArray[np.int64]]]) -> Sequence[SignalReading]:
        """Judge a step's rows, then learn from them.

        Parameters
        ----------
        counts
            For each phase with rows in the step, each signal's counts (B,); all zeros where it was not in the step.
        """
        parts = [self._part(phase, np.concatenate(counts[phase]).astype(np.float64)) for phase in sorted(counts)]
        parts = [part for part in parts if part.rows.any()]
        if not parts:
            return self._readings(np.zeros(self._layout.signals, dtype=np.bool_))
        self._judge(parts)
        self._learn(parts)
        return self._readings(_total(part.rows for part in parts) > 0)

    def reset(self, index: int, *, above: int = 0) -> None:
        """Forget a signal's evidence: all of it, or that of the tiers from ``above`` on (0 minor, 2 significant)."""
        self._log_m[above:, :, index] = -np.inf
        self._evidence[above:, index] = 0.0
        if above == 0:
            self._skill[:, index] = 0.0
            self._recent.forget(index)

    @property
    def evidence(self) -> Floats:
        """Evidence against each tier's null as it stands now, in nats, (3, S)."""
        return self._evidence.copy()

    def nulls(self) -> tuple[Floats, Floats, Floats]:
        """Return what each tier's null holds, in nats, (3, S); the PSI of a rise by 1; rows worth an independent one.

        The PSI of a rise is that of a loss, and NaN for other signals, (S,).
        """
        burst, of_reference = self._worth
        whole = self._expectation.of(WHOLE)
        own = whole.rows / of_reference
        radii = np.stack([ball_radius(self._bins, own, tolerance) for tolerance in self._tolerance])
        return radii, self._losses.psi_of_rise(whole.smooth), burst

    def state(self) -> dict[str, Floats]:
        """Return what `restore` takes."""
        recent = {f"recent_{name}": value for name, value in self._recent.state().items()}
        live = {f"live_{name}": value for name, value in self._live.state().items()}
        improvement = {f"improvement_{name}": value for name, value in self._improvement.state().items()}
        return {"log_m": self._log_m.copy(), "skill": self._skill.copy(), **recent, **live, **improvement}

    def restore(self, state: Mapping[str, Floats]) -> None:
        """Continue from a saved state of the same baselines, to the last bit.

        Raises
        ------
        ValueError
            If the state is of other baselines.
        """
        for name, value in self.state().items():
            if name not in state or state[name].shape != value.shape:
                raise ValueError(f"saved evidence does not fit the reference: {name} is missing or has another shape")
        self._log_m, self._skill = state["log_m"].copy(), state["skill"].copy()
        self._evidence = self._weighed()
        for prefix, restore in (
            ("recent_", self._recent.restore),
            ("live_", self._live.restore),
            ("improvement_", self._improvement.restore),
        ):
            restore({name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)})
        self._expect()
        self._worth = self._dispersion()

    def _expect(self) -> None:
        """Make everything that follows from what is expected."""
        if self._improvement.any:
            self._expectation.follow(self._improvement.factors, self._improvement.adopted_rows)
        shares, thresholds = self._expectation.of(WHOLE).smooth, self._thresholds
        self._tolerance = self._losses.tolerance(thresholds, shares, of_others=thresholds * TOLERATED)
        self._ranks = _ranks(shares, self._layout, self._ordered, self._losses)
        self._tilts: dict[int, tuple[Floats, tuple[Floats, Floats]]] = {}

    def _part(self, phase: int, counts: Floats) -> _Part:
        return _Part(phase, self._expectation.of(phase), counts, self._layout.sum(counts))

    def _judge(self, parts: Sequence[_Part]) -> None:
        """Move the evidence by a step's rows, with bets and tiers chosen before they are seen."""
        burst, of_reference = self._worth
        awake = self._evidence[0] >= _WAKE
        self._log_m[1:, :, ~awake] = -np.inf
        learned = [self._recent.alternatives(part.expected, burst) for part in parts]
        for tier in range(TIERS):
            signals = np.flatnonzero(awake) if tier else np.arange(self._layout.signals)
            if len(signals) == 0:
                break
            layout, bins = self._layout.select(signals)
            increment, entering = np.zeros((2, len(_LOG_WEIGHTS), len(signals)))
            for part, alternatives in zip(parts, learned, strict=True):
                own = part.expected.rows[signals] / of_reference[signals]
                radius = ball_radius(self._bins[signals], own, self._tolerance[tier, signals])
                on_learned = self._bets(part, alternatives[:, bins], radius, layout, bins)
                on_tilts = self._bets_on_tilts(part, radius, layout, bins, keep=tier == 0)
                bets, outside = (np.concatenate(each) for each in zip(on_learned, on_tilts, strict=True))
                increment += layout.sum(part.counts[bins] * bets) / burst[signals]
                entering = np.maximum(entering, outside * (part.rows[signals] > 0))
            rows = _total(part.rows[signals] for part in parts) / burst[signals]
            if tier == 0:
                self._skill = self._skill * np.exp2(-rows / _SKILL_ROWS) + increment[: len(HALF_LIVES)]
            self._log_m[tier][:, signals] = advance(self._log_m[tier][:, signals], increment, entering, rows)
        self._log_m[:, :, ~self._judged(of_reference)] = -np.inf
        self._evidence = self._weighed()

    def _bets_on_tilts(
        self, part: _Part, radius: Floats, layout: Ragged, bins: Indices | slice, *, keep: bool
    ) -> tuple[Floats, Floats]:
        """Bets on the tilts: the same as long as a phase and the burstiness last, and kept for the minor null."""
        known = self._tilts.get(part.phase) if keep else None
        if known is not None and np.array_equal(known[0], radius):
            return known[1]
        tilted = tilt(part.expected.smooth[bins], self._ranks[bins], _STRENGTHS, layout)
        bets = self._bets(part, tilted, radius, layout, bins)
        if keep:
            self._tilts.pop(part.phase, None)
            while len(self._tilts) >= CACHED_PHASES:
                del self._tilts[next(iter(self._tilts))]
            self._tilts[part.phase] = radius, bets
        return bets

    def _bets(
        self, part: _Part, alternatives: Floats, radius: Floats, layout: Ragged, bins: Indices | slice
    ) -> tuple[Floats, Floats]:
        """Bet on alternatives (A, T'); nothing on those under which a loss would not rise."""
        shares = part.expected.smooth[bins]
        bets, outside = log_bets(shares, alternatives, radius, layout)
        if not self._losses.any:
            return bets, outside
        worse = self._losses.rises(alternatives, shares, layout, bins)
        return bets * layout.spread(worse), outside * worse

    def _learn(self, parts: Sequence[_Part]) -> None:
        counts, rows = _total(part.counts for part in parts), _total(part.rows for part in parts)
        expected = _total(part.expected.shares * self._layout.spread(part.rows) for part in parts)
        self._recent.add(counts, expected, rows)
        self._live.update(counts - expected, rows, self._error(parts, rows))
        self._worth = self._dispersion()
        if self._improvement.any:
            self._follow(counts, expected, rows, _smallest(part.expected.rows for part in parts))

    def _follow(self, counts: Floats, expected: Floats, rows: Floats, reference_rows: Floats) -> None:
        """Where losses have surely fallen, expect them to stay so, and begin anew against that."""
        improved = self._improvement.add(counts, expected, rows, self._worth[0], reference_rows)
        if len(improved):
            self._expect()
            for signal in improved.tolist():
                self.reset(signal)

    def _error(self, parts: Sequence[_Part], rows: Floats) -> Floats:
        """What the expectation of a step may be off by, (S,), in one row's variance; only where there are phases."""
        if not self._seasonal:
            return np.zeros(self._layout.signals)
        return self._burst * _total(part.rows / part.expected.rows for part in parts) / np.maximum(rows, 1.0)

    def _weighed(self) -> Floats:
        """Evidence of all alternatives together, at least 0 nats: (3, S)."""
        return np.maximum(mixture(self._log_m, _LOG_WEIGHTS), 0.0)

    def _dispersion(self) -> tuple[Floats, Floats]:
        """Rows worth one independent row, (S,): for the evidence of a step, and for the reference's own uncertainty.

        The live estimate is rounded to an eighth of a power of two, so that bets can be kept while it hardly moves.
        """
        rounded = (np.exp2(np.rint(8 * np.log2(phi)) / 8) for phi in self._live.phi())
        of_steps, of_reference = (np.maximum(self._burst, phi) for phi in rounded)
        return of_steps, of_reference

    def _judged(self, of_reference: Floats) -> NDArray[np.bool_]:
        return np.asarray(self._measured() & (self._expectation.rows / of_reference >= self._needed_rows))

    def _measured(self) -> NDArray[np.bool_]:
        """Whether enough steps were compared with each other to know how bursty the stream is, (S,)."""
        return np.asarray(self._live.differences[0] >= self._needed_differences())

    def _needed_differences(self) -> Floats:
        """Steps to be compared, (S,): more where only they say that rows are bursty, as behind a shuffled reference."""
        hidden = self._worth[0] > _HIDDEN * self._burst
        return np.where(hidden, _UNCONFIRMED_BLOCKS, float(MIN_BLOCKS))

    def _readings(self, in_step: NDArray[np.bool_]) -> Sequence[SignalReading]:
        layout = self._layout
        longest, shortest = len(HALF_LIVES) - 1 - self._skill[::-1].argmax(axis=0), self._skill.argmax(axis=0)
        best = np.where(self._evidence[0] >= _WAKE, shortest, longest)
        burst = self._live.average()
        rows, current, reference = self._recent.effective(best, burst)
        _, lately, awaited = self._recent.effective(_QUIETEST.searchsorted(burst), burst)
        now, before = ([layout.pad(counts) for counts in pair] for pair in ((current, lately), (reference, awaited)))
        score, quiet_score = scores.psi(np.stack(now), np.stack(before))
        losses: Sequence[tuple[float, float] | None] = [None] * layout.signals
        if self._losses.any:
            losses = self._losses.means(reference, current)
            score = self._losses.rise(current, reference, score)
            quiet_score = self._losses.rise(lately, awaited, quiet_score)
        half_lives = [HALF_LIVES[index] for index in best.tolist()]
        columns = (
            score.tolist(), quiet_score.tolist(), map(tuple, self._evidence.T.tolist()), rows.tolist(), half_lives,
            layout.split(current), layout.split(reference), self._reasons(),
            in_step.tolist(), losses,
        )  # fmt: skip
        return [SignalReading(each.name, *values) for each, *values in zip(self.baselines, *columns, strict=True)]

    def _reasons(self) -> list[str | None]:
        """Why each signal cannot be judged, if so."""
        _, of_reference = self._worth
        reasons: list[str | None] = [None] * self._layout.signals
        for index in np.flatnonzero(~self._judged(of_reference)).tolist():
            rows, needed = self._expectation.rows[index], self._needed_rows[index]
            worth, steps = rows / of_reference[index], self._live.differences[0, index]
            if worth < needed:
                reasons[index] = (
                    f"the reference's {rows:.0f} rows are worth {worth:.0f} independent ones, {needed:.0f} are needed"
                )
            else:
                asked = self._needed_differences()[index]
                reasons[index] = f"measuring how bursty the rows are: {steps:.0f} of {asked:.0f} steps compared"
        return reasons


def _smallest(arrays: Iterable[Floats]) -> Floats:
    return np.min(list(arrays), axis=0)  # type: ignore[no-any-return]


def _total(arrays: Iterable[Floats]) -> Floats:
    """Add up one array for each phase of the step."""
    return np.asarray(sum(arrays))


def _ranks(shares: Floats, layout: Ragged, ordered: NDArray[np.bool_], losses: Losses) -> Floats:
    """Mid-ranks (T,) along which the reference is tilted: in the order of bins, of losses, or of their frequency."""
    ranks = []
    for part, has_order, costs in zip(layout.split(shares), ordered, losses.by_signal, strict=True):
        order = np.arange(len(part)) if has_order else np.argsort(-part, kind="stable")
        if costs is not None:
            order = np.argsort(costs, kind="stable")
        each = np.empty(len(part))
        each[order] = mid_ranks(part[order])
        ranks.append(each)
    return np.concatenate(ranks)
