"""Plays episodes: a production model that predicts and learns, contenders that watch it, and what they said when."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from river import tree

from bench.contenders import CONTENDERS, Contender, Seen
from bench.episodes import GENERATED_MAX_DELAY, KINDS, ONSET, WARM_UP, Tail, generated, marked_rows, real_stream

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MODES: Final = ("abrupt", "gradual")


@dataclass(frozen=True, slots=True)
class Cell:
    """What an episode is one of."""

    stream: str
    kind: str
    mode: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one episode for one contender."""

    cell: Cell
    contender: str
    delay: int | None
    """From the onset to the detection, in places of the original stream; None: not found."""
    delay_rows: int | None
    """The same in rows that were there to be seen."""
    false_alarms: int
    rows: int
    """Monitored."""
    seconds: float
    """Spent by the contender."""


class Production:
    """The production model: a Hoeffding tree that predicts, then learns."""

    def __init__(self) -> None:
        self._model: Any = tree.HoeffdingTreeClassifier()

    def predict_and_learn(self, x: Floats, y: Ints) -> Seen:
        """Go through rows in order."""
        predicted = np.zeros(len(y), dtype=np.int64)
        names = range(x.shape[1])
        for row, (values, label) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
            features = dict(zip(names, values, strict=True))
            answer = self._model.predict_one(features)
            predicted[row] = label if answer is None else answer
            self._model.learn_one(features, label)
        return Seen(x, y, predicted)

    def copy(self) -> Production:
        """Return another that goes on from here."""
        return deepcopy(self)


@dataclass(frozen=True, slots=True)
class Places:
    """Where monitoring and the drift begin in a stream, and how long an alarm counts as a detection."""

    begin: int
    onset: int
    max_delay: int


@dataclass(slots=True)
class _Watch:
    """A contender and what it has said."""

    contender: Contender
    alarms: list[int]
    """Places in the original stream."""
    seconds: float = 0.0

    def read(self, rows: Seen, index: Ints) -> None:
        """Read rows that stand at ``index`` in the original stream."""
        began = time.process_time()
        self.alarms += [int(index[max(position, 0)]) for position in self.contender.read(rows)]
        self.seconds += time.process_time() - began

    def copy(self) -> _Watch:
        """Return another that goes on from here."""
        return _Watch(self.contender.copy(), list(self.alarms), self.seconds)


def play_real(data: Path, name: str, seed: int, contenders: Sequence[str]) -> list[Outcome]:
    """Play one shuffle of a real stream: what lies before the onset once, then every drift that begins there."""
    rng = np.random.default_rng([23, seed])
    stream = real_stream(data, name).shuffled(rng)
    begin, onset = int(WARM_UP * len(stream)), int(rng.uniform(*ONSET) * len(stream))
    production = Production()
    before = production.predict_and_learn(stream.x[:onset], stream.y[:onset])
    watches = _watch(before, begin, contenders)
    outcomes: list[Outcome] = []
    for number, (kind, change) in enumerate(KINDS.items()):
        for mode in MODES if kind != "none" else MODES[:1]:
            own = np.random.default_rng([29, seed, number, MODES.index(mode)])
            marked = marked_rows(stream, onset, gradual=mode == "gradual", rng=own)
            tail = change(stream, onset, marked, own)
            cell = Cell(name, kind, mode)
            outcomes += _finish(cell, tail, production, watches, Places(begin, onset, stream.max_delay))
    return outcomes


def play_generated(name: str, seed: int, contenders: Sequence[str]) -> list[Outcome]:
    """Play one run of a generator that changes."""
    stream, onset, tail = generated(name, 1_000 + seed, np.random.default_rng([31, seed]))
    begin = int(WARM_UP * len(stream))
    production = Production()
    watches = _watch(production.predict_and_learn(stream.x[:onset], stream.y[:onset]), begin, contenders)
    cell = Cell(name, "generator", "abrupt")
    return _finish(cell, tail, production, watches, Places(begin, onset, GENERATED_MAX_DELAY))


def _watch(before: Seen, begin: int, contenders: Sequence[str]) -> dict[str, _Watch]:
    """Start the contenders behind the warm-up and let them read up to the onset."""
    warm_up = Seen(before.x[:begin], before.y[:begin], before.predicted[:begin])
    rest = Seen(before.x[begin:], before.y[begin:], before.predicted[begin:])
    watches: dict[str, _Watch] = {}
    for name in contenders:
        watches[name] = _Watch(CONTENDERS[name](warm_up), [])
        watches[name].read(rest, np.arange(begin, begin + len(rest)))
    return watches


def _finish(cell: Cell, tail: Tail, production: Production, watches: dict[str, _Watch], at: Places) -> list[Outcome]:
    """Let copies of the model and of the contenders go on through what comes behind the onset."""
    rows = production.copy().predict_and_learn(tail.x, tail.y)
    outcomes: list[Outcome] = []
    for name, watch in watches.items():
        own = watch.copy()
        own.read(rows, tail.index)
        last = at.onset + at.max_delay if cell.kind != "none" else at.onset
        inside = [place for place in own.alarms if at.onset <= place < last]
        first = min(inside, default=None)
        outcomes.append(
            Outcome(
                cell,
                name,
                None if first is None else first - at.onset,
                None if first is None else int(np.searchsorted(tail.index, first, side="right")),
                len(own.alarms) - len(inside),
                at.onset - at.begin + len(rows),
                own.seconds,
            )
        )
    return outcomes
