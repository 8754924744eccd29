"""Streams with one drift in a known place: the published protocol, and River's generators with a change.

The protocol is that of Cerqueira, Gomes, Heyden et al. 2026 (arXiv 2606.07789): a real stream is shuffled, so that
nothing drifts by itself; the drift begins at a random place between 50 % and 80 % of it; the production model is a
Hoeffding tree that predicts, then learns each row; detection starts after 25 %. In a gradual drift a row is changed
with a probability that rises from 0 to 1 over ``max_delay`` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from river.datasets import synth

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

WARM_UP: Final = 0.25
"""Share of a stream before detection starts."""
ONSET: Final = (0.5, 0.8)
"""Between these shares of the stream a drift begins."""
SKIPPED: Final = 0.75
"""Probability with which rows of the class that becomes rarer are dropped."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream in which nothing drifts by itself.

    Attributes
    ----------
    x
        (n, F) features.
    y
        (n,) classes.
    max_delay
        Rows after the onset in which an alarm is a detection.
    """

    name: str
    x: Floats
    y: Ints
    max_delay: int

    def __len__(self) -> int:
        return len(self.y)

    def shuffled(self, rng: np.random.Generator) -> Stream:
        """Return the rows in random order."""
        order = rng.permutation(len(self))
        return Stream(self.name, self.x[order], self.y[order], self.max_delay)


@dataclass(frozen=True, slots=True)
class Tail:
    """A stream from its onset on.

    Attributes
    ----------
    x, y
        The rows that are left.
    index
        (n,) where each stands in the original stream: rows that were dropped leave gaps.
    """

    x: Floats
    y: Ints
    index: Ints


Kind = Callable[[Stream, int, Bools, np.random.Generator], Tail]
"""Changes a stream from an onset on, in the rows (of those behind the onset) that are marked."""


def x_permutations(stream: Stream, onset: int, marked: Bools, rng: np.random.Generator) -> Tail:
    """Let the feature columns change places."""
    columns = rng.permutation(stream.x.shape[1])
    while (columns == np.arange(len(columns))).all():
        columns = rng.permutation(len(columns))
    x = stream.x[onset:]
    return _tail(stream, onset, np.where(marked[:, None], x[:, columns], x), stream.y[onset:])


def y_swaps(stream: Stream, onset: int, marked: Bools, rng: np.random.Generator) -> Tail:
    """Relabel one random class as another."""
    was, becomes = rng.choice(np.unique(stream.y), 2, replace=False)
    y = stream.y[onset:]
    return _tail(stream, onset, stream.x[onset:], np.where(marked & (y == was), becomes, y))


def y_prior_skip(stream: Stream, onset: int, marked: Bools, rng: np.random.Generator) -> Tail:
    """Drop rows of one random class with probability `SKIPPED`."""
    rare = rng.choice(np.unique(stream.y))
    y = stream.y[onset:]
    dropped = marked & (y == rare) & (rng.random(len(y)) < SKIPPED)
    return _tail(stream, onset, stream.x[onset:], y, ~dropped)


def x_exceed_skip(stream: Stream, onset: int, marked: Bools, rng: np.random.Generator) -> Tail:
    """Drop rows in which one random feature exceeds its median."""
    feature = rng.integers(stream.x.shape[1])
    x = stream.x[onset:]
    dropped = marked & (x[:, feature] > np.median(stream.x[:, feature]))
    return _tail(stream, onset, x, stream.y[onset:], ~dropped)


def y_mirror(stream: Stream, onset: int, marked: Bools, _rng: np.random.Generator) -> Tail:
    """Mirror the labels along the rank of the best feature: P(x) and P(y) stay, P(y|x) turns round."""
    x, y = stream.x[onset:], stream.y[onset:]
    order = np.argsort(x[:, best_feature(stream)], kind="stable")
    mirrored = np.empty_like(y)
    mirrored[order] = y[order[::-1]]
    return _tail(stream, onset, x, np.where(marked, mirrored, y))


def no_drift(stream: Stream, onset: int, _marked: Bools, _rng: np.random.Generator) -> Tail:
    """Change nothing."""
    return _tail(stream, onset, stream.x[onset:], stream.y[onset:])


def best_feature(stream: Stream) -> int:
    """Feature whose rank differs most between the largest class and the others (its AUC)."""
    largest = stream.y == np.bincount(stream.y).argmax()
    ranks = np.argsort(np.argsort(stream.x, axis=0, kind="stable"), axis=0)
    return int(np.abs(ranks[largest].mean(axis=0) - ranks[~largest].mean(axis=0)).argmax())


def _tail(stream: Stream, onset: int, x: Floats, y: Ints, kept: Bools | None = None) -> Tail:
    index = np.arange(onset, len(stream))
    return Tail(x, y, index) if kept is None else Tail(x[kept], y[kept], index[kept])


def marked_rows(stream: Stream, onset: int, *, gradual: bool, rng: np.random.Generator) -> Bools:
    """Which rows behind the onset are changed: all, or more and more of them over ``max_delay`` rows."""
    rows = len(stream) - onset
    if not gradual:
        return np.ones(rows, dtype=np.bool_)
    return np.asarray(rng.random(rows) < np.minimum(np.arange(rows) / stream.max_delay, 1.0))


KINDS: Final[Mapping[str, Kind]] = {
    "x_permutations": x_permutations,
    "y_swaps": y_swaps,
    "y_prior_skip": y_prior_skip,
    "x_exceed_skip": x_exceed_skip,
    "y_mirror": y_mirror,
    "none": no_drift,
}
PROTOCOL: Final = ("x_permutations", "y_swaps", "y_prior_skip", "x_exceed_skip")


# -------------------------------------------------------------------------------------------------------- real streams

FILES: Final[Mapping[str, tuple[str, int]]] = {"electricity": ("elec.csv.gz", 2_500), "noaa": ("weather.csv.gz", 1_500)}
"""File and ``max_delay`` of each."""


def real_stream(folder: Path, name: str) -> Stream:
    """Read a stream of the protocol.

    Raises
    ------
    FileNotFoundError
        If the folder does not have it.
    """
    file, max_delay = FILES[name]
    table = pd.read_csv(folder / file)
    return Stream(name, table.drop(columns="target").to_numpy(float), table["target"].to_numpy(int), max_delay)


# ---------------------------------------------------------------------------------------------------------- generators

ROWS: Final = 20_000
GENERATED_MAX_DELAY: Final = 2_000

Change = Callable[[int], tuple[Any, Any]]
"""From a seed, River's generator before the change and after it."""

GENERATORS: Final[Mapping[str, Change]] = {
    "sea": lambda seed: (synth.SEA(variant=0, seed=seed), synth.SEA(variant=2, seed=seed + 1)),
    "agrawal": lambda seed: tuple(synth.Agrawal(classification_function=f, seed=seed + f) for f in (0, 3)),
    "sine": lambda seed: tuple(synth.Sine(classification_function=f, seed=seed + f) for f in (0, 1)),
    "mixed": lambda seed: tuple(synth.Mixed(classification_function=f, seed=seed + f) for f in (0, 1)),
    "stagger": lambda seed: tuple(synth.STAGGER(classification_function=f, seed=seed + f) for f in (0, 1)),
    "led": lambda seed: tuple(
        # Without irrelevant features, River's LEDDrift has nothing to change places with.
        synth.LEDDrift(seed=seed + after, noise_percentage=0.1, irrelevant_features=True, n_drift_features=4 * after)
        for after in (0, 1)
    ),
    "hyperplane": lambda seed: tuple(synth.Hyperplane(seed=seed + s, n_features=10) for s in (0, 1)),
    "random_rbf": lambda seed: tuple(
        synth.RandomRBF(seed_model=seed + s, seed_sample=seed, n_classes=2) for s in (0, 1)
    ),
}


def generated(name: str, seed: int, rng: np.random.Generator) -> tuple[Stream, int, Tail]:
    """Generate a stream whose generator changes at a random place: the stream before, the onset, the rows after."""
    before, after = GENERATORS[name](seed)
    onset = int(rng.uniform(*ONSET) * ROWS)
    first, second = take(before, onset), take(after, ROWS - onset)
    stream = Stream(name, *(np.concatenate(pair) for pair in zip(first, second, strict=True)), GENERATED_MAX_DELAY)
    return stream, onset, Tail(*second, np.arange(onset, ROWS))


def take(generator: Any, rows: int) -> tuple[Floats, Ints]:
    """Take rows of a generator of River's: features (n, F) and labels (n,)."""
    pairs: Iterator[tuple[dict[Any, Any], Any]] = generator.take(rows)
    x, y = zip(*((list(features.values()), int(label)) for features, label in pairs), strict=True)
    return np.array(x, dtype=np.float64), np.array(y, dtype=np.int64)
