"""The episodes of ``bench.surrogates``: swapped labels, generators, a correlation that flips, a model that changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from river import drift, tree
from scipy import special

from bench.contenders import Seen
from bench.episodes import GENERATORS, ONSET, ROWS, WARM_UP, Stream, _take, real_stream
from bench.streams import Kind, latent
from bench.watching import PANE_ROWS, Watching, labelled_rows, plain_rows, spec_of
from schemas.model_spec import CONCEPT, MIMIC, MULTIVARIATE, Output

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

# --------------------------------------------------------------------------------------------------- rivals on errors

Detectors = Mapping[str, Sequence[tuple[str, Callable[[], Any]]]]


def _grid(
    make: Callable[..., Any], name: str, values: Sequence[float], **fixed: Any
) -> list[tuple[str, Callable[[], Any]]]:
    return [(f"{name}={value:g}", lambda value=value: make(**{name: value}, **fixed)) for value in values]


RIVALS: Final[Detectors] = {
    "adwin": _grid(drift.ADWIN, "delta", (0.002, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10)),
    "ddm": _grid(drift.binary.DDM, "drift_threshold", (3.0, 3.5, 4.0, 5.0, 6.0, 8.0)),
    "eddm": _grid(drift.binary.EDDM, "beta", (0.9, 0.85, 0.8, 0.7, 0.6, 0.5)),
    "hddm_a": _grid(
        drift.binary.HDDM_A if hasattr(drift.binary, "HDDM_A") else drift.binary.HDDMA,
        "drift_confidence", (1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10), two_sided_test=True,
    ),
    "hddm_w": _grid(
        drift.binary.HDDM_W if hasattr(drift.binary, "HDDM_W") else drift.binary.HDDMW,
        "drift_confidence", (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10), two_sided_test=True,
    ),
    "page_hinkley": _grid(drift.PageHinkley, "threshold", (20.0, 50.0, 100.0, 150.0, 200.0, 300.0)),
    "kswin": _grid(drift.KSWIN, "alpha", (0.005, 1e-4, 1e-6, 1e-8), seed=1),
}  # fmt: skip
"""By name: from the most sensitive setting, the default or beyond, to the least."""


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
    """Before the onset, and at least 500 rows earlier than the onset's effect."""
    delay: int | None
    """Rows from the onset until the alarm, those by which labels are late among them; None: not within max_delay."""


def swaps(data: Path, name: str, seed: int, late: int, rivals: Sequence[str]) -> list[Said]:
    """Play one shuffle of a real stream, and behind its onset every swap of two classes."""
    rng = np.random.default_rng([23, seed])
    stream = real_stream(data, name).shuffled(rng)
    begin, onset = int(WARM_UP * len(stream)), int(rng.uniform(*ONSET) * len(stream))
    production = LateProduction(late)
    before = production.go(stream.x[:onset], stream.y[:onset])
    spec = spec_of(stream.x.shape[1], learning="continuous")
    watching = Watching(spec, labelled_rows(spec, _part(before, 0, begin), 0))
    watching.read(labelled_rows(watching.spec, _part(before, begin, onset), begin))
    alarmed = dict(watching.first)
    errors = before.errors[begin:].astype(int).tolist()
    told = [(rival, place, *_tell(make(), errors)) for rival in rivals for place, (_, make) in enumerate(RIVALS[rival])]
    classes = np.unique(stream.y)
    said: list[Said] = []
    for was in classes.tolist():
        becomes = next(each for each in classes.tolist() if each != was)
        tail = _part_of(stream, onset, onset + stream.max_delay)
        y = np.where(tail.y == was, becomes, tail.y)
        after = production.copy().go(tail.x, y)
        rise = float(after.errors[:500].mean() - before.errors[begin:].mean())
        swapped = f"{was} -> {becomes}"
        own = watching.branch()
        own.read(labelled_rows(own.spec, after, onset))
        for signal in (CONCEPT, "performance:error", "label"):
            at = own.first.get(signal)
            delay = None if at is None else at - onset
            said.append(Said(name, swapped, late, rise, signal, 0, signal in alarmed, _within(delay, late, stream)))
        for rival, place, false_alarm, detector in told:
            _, delay = _tell_on(deepcopy(detector), after.errors.astype(int).tolist())
            said.append(Said(name, swapped, late, rise, rival, place, false_alarm, _within(delay, late, stream)))
    return said


def _within(delay: int | None, late: int, stream: Stream) -> int | None:
    return None if delay is None or delay > stream.max_delay else delay + late


def _tell(detector: Any, errors: Sequence[int]) -> tuple[bool, Any]:
    alarmed = False
    for wrong in errors:
        detector.update(wrong)
        alarmed = alarmed or detector.drift_detected
    return alarmed, detector


def _tell_on(detector: Any, errors: Sequence[int]) -> tuple[bool, int | None]:
    for place, wrong in enumerate(errors, start=1):
        detector.update(wrong)
        if detector.drift_detected:
            return True, place
    return False, None


class LateProduction:
    """A Hoeffding tree that predicts, and learns each label ``late`` rows later."""

    def __init__(self, late: int) -> None:
        self._model: Any = tree.HoeffdingTreeClassifier()
        self._late, self._waiting = late, []

    def go(self, x: Floats, y: Ints) -> Seen:
        """Go through rows in order."""
        predicted = np.zeros(len(y), dtype=np.int64)
        for row, (values, label) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
            features = dict(enumerate(values))
            told = self._model.predict_one(features)
            predicted[row] = label if told is None else told
            self._waiting.append((features, label))
            if len(self._waiting) > self._late:
                self._model.learn_one(*self._waiting.pop(0))
        return Seen(x, y, predicted)

    def copy(self) -> LateProduction:
        """Return another that goes on from here."""
        return deepcopy(self)


def _part(seen: Seen, start: int, stop: int) -> Seen:
    return Seen(seen.x[start:stop], seen.y[start:stop], seen.predicted[start:stop])


def _part_of(stream: Stream, start: int, stop: int) -> Seen:
    return Seen(stream.x[start:stop], stream.y[start:stop], stream.y[start:stop])


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
    first, second = production.go(*_take(before, onset)), production.go(*_take(after, min(FOLLOWED_ROWS, ROWS - onset)))
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


SURROGATES: Final = (CONCEPT, MULTIVARIATE, MIMIC)
