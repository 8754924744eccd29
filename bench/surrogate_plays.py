"""The episodes of ``bench.surrogates``: swapped labels, generators, a correlation that flips, a model that changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from river import tree
from scipy import special

from bench.contenders import Seen
from bench.episodes import GENERATORS, ONSET, ROWS, WARM_UP, real_stream, take
from bench.error_rivals import RIVALS, read_changed, read_stable
from bench.streams import Kind, latent
from bench.watching import PANE_ROWS, Watching, labelled_rows, plain_rows, spec_of
from detector.budget import budget_of
from schemas.model_spec import CONCEPT, LABEL, MIMIC, MULTIVARIATE, Output, performance_signal
from schemas.performance import Loss

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REFERENCE_ROWS: Final = 2_000
QUIET_ROWS: Final = 3_200
"""Rows before a correlation flips or a model changes."""
FOLLOWED_ROWS: Final = 2_000
STABLE_REFERENCE_ROWS: Final = 5_000
QUIET_KINDS: Final = (Kind.INDEPENDENT, Kind.AUTOCORRELATED, Kind.BURSTS)
"""Of streams in which nothing changes."""
CORRELATION: Final = 0.7
FEATURES: Final = 6
RISE_ROWS: Final = 500
PERFORMANCE: Final = performance_signal(Loss.ERROR)
OURS: Final = (CONCEPT, PERFORMANCE, LABEL)
"""driftline's signals that look at labels."""
SURROGATES: Final = (CONCEPT, MULTIVARIATE, MIMIC)

# ------------------------------------------------------------------------------------------------------- swapped labels


@dataclass(frozen=True, slots=True)
class Said:
    """What one contender said in one episode."""

    stream: str
    swapped: str
    """Which class became which."""
    late: int
    """Rows by which labels come late."""
    rise: float
    """Of the error, over the 500 rows behind the onset."""
    contender: str
    setting: int
    """Place in the contender's grid, 0 where it has none."""
    false_alarm: bool
    """Before the onset."""
    delay: int | None
    """Labelled rows from the first changed one until the alarm; None: not within the stream's ``max_delay``."""
    stable_rows: int
    """Before the onset, in which an alarm is a false one."""


@dataclass(frozen=True, slots=True)
class _Episode:
    """One shuffle of a real stream as the production model went through it."""

    stream: str
    late: int
    begin: int
    """Rows of the warm-up, which are the reference."""
    onset: int
    max_delay: int
    before: Seen
    swaps: Mapping[str, Seen]
    """Rows behind the onset, by which class became which."""

    def said(self, swapped: str, contender: tuple[str, int], alarmed: bool, delay: int | None) -> Said:
        """Put down what a contender, named with its setting, said."""
        errors = self.before.errors[self.begin :]
        rise = float(self.swaps[swapped].errors[:RISE_ROWS].mean() - errors.mean())
        delay = None if delay is None or delay > self.max_delay else delay
        return Said(self.stream, swapped, self.late, rise, *contender, alarmed, delay, len(errors))


def _episode(data: str, name: str, seed: int, late: int) -> _Episode:
    rng = np.random.default_rng([23, seed])
    stream = real_stream(Path(data), name).shuffled(rng)
    begin, onset = int(WARM_UP * len(stream)), int(rng.uniform(*ONSET) * len(stream))
    production = LateProduction(late)
    before = production.go(stream.x[:onset], stream.y[:onset])
    rows = slice(onset, onset + stream.max_delay)
    x, y = stream.x[rows], stream.y[rows]
    swaps = {}
    for was in (classes := np.unique(stream.y).tolist()):
        becomes = next(each for each in classes if each != was)
        swaps[f"{was} -> {becomes}"] = production.copy().go(x, np.where(y == was, becomes, y))
    return _Episode(name, late, begin, onset, stream.max_delay, before, swaps)


def swaps(data: str, name: str, seed: int, late: int) -> list[Said]:
    """Let driftline watch one shuffle of a real stream, and behind its onset every swap of two classes."""
    episode = _episode(data, name, seed, late)
    begin, onset = episode.begin, episode.onset
    spec = spec_of(episode.before.x.shape[1], learning="continuous")
    watching = Watching(spec, labelled_rows(spec, _part(episode.before, 0, begin), 0))
    watching.read(labelled_rows(watching.spec, _part(episode.before, begin, onset), begin))
    said: list[Said] = []
    for swapped, after in episode.swaps.items():
        own = watching.branch()
        own.read(labelled_rows(own.spec, after, onset), until=frozenset(OURS))
        for signal in OURS:
            at = own.first.get(signal)
            delay = None if at is None else at - onset
            said.append(episode.said(swapped, (signal, 0), signal in watching.first, delay))
    return said


def rivals(data: str, name: str, seed: int, late: int, names: Sequence[str]) -> list[Said]:
    """Let River's detectors read the errors of the same rows, in every setting."""
    episode = _episode(data, name, seed, late)
    stable = episode.before.errors[episode.begin :].astype(int).tolist()
    said: list[Said] = []
    for rival in names:
        for place, (_, make) in enumerate(RIVALS[rival]):
            detector = make()
            alarmed = read_stable(detector, stable)
            for swapped, after in episode.swaps.items():
                delay = read_changed(deepcopy(detector), after.errors.astype(int).tolist())
                said.append(episode.said(swapped, (rival, place), alarmed, delay))
    return said


class LateProduction:
    """A Hoeffding tree that predicts, and learns each label ``late`` rows later."""

    def __init__(self, late: int) -> None:
        self._model: Any = tree.HoeffdingTreeClassifier()
        self._late, self._waiting = late, deque[tuple[dict[int, float], int]]()

    def go(self, x: Floats, y: Ints) -> Seen:
        """Go through rows in order."""
        predicted = np.zeros(len(y), dtype=np.int64)
        for row, (values, label) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
            features = dict(enumerate(values))
            told = self._model.predict_one(features)
            predicted[row] = label if told is None else told
            self._waiting.append((features, label))
            if len(self._waiting) > self._late:
                self._model.learn_one(*self._waiting.popleft())
        return Seen(x, y, predicted)

    def copy(self) -> LateProduction:
        """Return another that goes on from here."""
        return deepcopy(self)


def _part(seen: Seen, start: int, stop: int) -> Seen:
    return Seen(seen.x[start:stop], seen.y[start:stop], seen.predicted[start:stop])


# ----------------------------------------------------------------------------------------------------------- others


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one stream of another kind."""

    part: str
    alarms_before: tuple[str, ...]
    """Signals that had a tier before the change (all of the stream, where there is none)."""
    delays: Mapping[str, int]
    """By signal: rows behind the change until it had a tier."""


CHANGES: Final = {
    "sea": GENERATORS["sea"],
    "led": GENERATORS["led"],
    "stagger": GENERATORS["stagger"],
}


def generator(name: str, seed: int) -> Found:
    """Play one of River's generators, changed at a random place, with a production model that keeps learning."""
    rng = np.random.default_rng([31, seed])
    before, after = CHANGES[name](1_000 + seed)
    begin, onset = int(WARM_UP * ROWS), int(rng.uniform(*ONSET) * ROWS)
    production = LateProduction(0)
    first, second = production.go(*take(before, onset)), production.go(*take(after, min(FOLLOWED_ROWS, ROWS - onset)))
    spec = spec_of(first.x.shape[1], learning="continuous")
    watching = Watching(spec, labelled_rows(spec, _part(first, 0, begin), 0))
    watching.read(labelled_rows(watching.spec, _part(first, begin, onset), begin))
    return _follow(name, watching, lambda each: labelled_rows(each.spec, second, onset), onset)


def flip(seed: int) -> Found:
    """Let the correlation of two features turn round while every feature stays as it is."""
    rng = np.random.default_rng([37, seed])

    def columns(rows: int, correlation: float) -> tuple[Floats, ...]:
        x = rng.normal(size=(FEATURES, rows))
        x[1] = correlation * x[0] + np.sqrt(1 - correlation**2) * x[1]
        return (*x, special.expit(x[2] + 0.5 * x[3] + 0.3 * rng.normal(size=rows)))

    return _label_free("flip", columns, CORRELATION, -CORRELATION)


def silent(seed: int) -> Found:
    """Let the model answer otherwise: a feature that it no longer gets, or two that it gets in each other's place."""
    rng = np.random.default_rng([41, seed])
    weights = rng.normal(size=FEATURES)
    first, second = np.argsort(-np.abs(weights))[:2]

    def columns(rows: int, changed: float) -> tuple[Floats, ...]:
        x = rng.normal(size=(FEATURES, rows))
        got = x.copy()
        if changed and seed % 2:
            got[first] = 0.0
        elif changed:
            got[[first, second]] = got[[second, first]] * np.array([[-1.0], [1.0]])
        return (*x, special.expit(weights @ got + 0.5 * got[0] * got[1]))

    return _label_free("silent", columns, 0.0, 1.0)


def _label_free(part: str, columns: Callable[[int, float], tuple[Floats, ...]], before: float, after: float) -> Found:
    spec = spec_of(FEATURES, labels=False, output=Output.SCORE)
    watching = Watching(spec, plain_rows(columns(REFERENCE_ROWS, before), 0))
    watching.read(plain_rows(columns(QUIET_ROWS, before), REFERENCE_ROWS))
    onset = REFERENCE_ROWS + QUIET_ROWS
    return _follow(part, watching, lambda _: plain_rows(columns(FOLLOWED_ROWS, after), onset), onset)


def quiet(kind: str, seed: int, windows: int) -> Found:
    """Let nothing change: rows that are independent, autocorrelated or in bursts; a frozen model, labels with noise."""
    rng = np.random.default_rng([43, seed, list(Kind).index(Kind(kind))])
    rows = STABLE_REFERENCE_ROWS + windows * PANE_ROWS
    x = np.array([latent(Kind(kind), rows, rng) for _ in range(FEATURES)])
    rule = x[2] + 0.5 * x[3] * x[4]
    seen = Seen(x.T, (rule + 0.5 * rng.normal(size=rows) > 0).astype(int), (rule > 0).astype(int))
    spec = spec_of(FEATURES)
    watching = Watching(spec, labelled_rows(spec, _part(seen, 0, STABLE_REFERENCE_ROWS), 0))
    live = _part(seen, STABLE_REFERENCE_ROWS, rows)
    watching.read(labelled_rows(watching.spec, live, STABLE_REFERENCE_ROWS))
    return Found(kind, tuple(sorted(watching.first)), {})


def _follow(part: str, watching: Watching, rows: Callable[[Watching], Any], onset: int) -> Found:
    alarmed = tuple(sorted(watching.first))
    own = watching.branch()
    own.read(rows(own))
    return Found(part, alarmed, {signal: at - onset for signal, at in own.first.items()})


def steps_of_budget() -> float:
    """Steps of the period in which one false alarm is allowed, at the default settings."""
    return budget_of(spec_of(FEATURES)).steps
