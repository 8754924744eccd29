"""Who is compared in ``bench.detection``: each reads the same rows and says in which of them it alarms.

Rivals see the production model's errors, as their authors mean them to be used; ``psi_128`` sees the features and the
label. Each can be copied, so that rows before an onset are read once for all drifts that begin there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from river import drift

from detector.bins import fit_category_bins, fit_number_bins, make_binner
from detector.layout import Layout
from detector.monitor import Monitor
from detector.outcomes import outcome_columns
from detector.reference import freeze
from detector.rows import STAGES, Rows, Source
from detector.scores import psi
from detector.steps import PaneCounts
from schemas.model_spec import (
    FeatureSpec,
    FeatureType,
    ModelSpec,
    Output,
    PredictionSpec,
    Stage,
    Task,
)
from schemas.outbound import Change, Pane
from schemas.performance import OutcomeSpec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PANE_ROWS: Final = 32
PSI_ROWS: Final = 128
PSI_THRESHOLD: Final = 0.25
PSI_QUIET: Final = 8
"""Windows, as many as driftline's quiet steps."""
ALWAYS_EVERY: Final = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows as a monitor sees them: features (n, F), the label (n,) and what the model had predicted (n,)."""

    x: Floats
    y: Ints
    predicted: Ints

    def __len__(self) -> int:
        return len(self.y)

    @property
    def errors(self) -> NDArray[np.bool_]:
        """(n,) whether the model was wrong."""
        return np.asarray(self.y != self.predicted)


class Contender(Protocol):
    """Reads rows in order."""

    def read(self, rows: Seen) -> list[int]:
        """Read on; return the positions, in these rows, of those in which it alarms."""

    def copy(self) -> Self:
        """Return another that goes on from here."""


# ----------------------------------------------------------------------------------------------------------- driftline


class Driftline:
    """driftline's monitor with its default configuration; an alarm is an incident that opens."""

    def __init__(self, warm_up: Seen) -> None:
        spec = ModelSpec(
            model="m",
            version="1",
            task=Task.MULTICLASS,
            features=tuple(FeatureSpec(name=f"f{i}", type=FeatureType.NUMBER) for i in range(warm_up.x.shape[1])),
            prediction=PredictionSpec(output=Output.CLASS),
            outcomes=OutcomeSpec(),
            learning="continuous",
        )
        self._spec = freeze(spec, _rows(spec, warm_up), origin="warm-up")
        self._layout = Layout(self._spec)
        self._monitor = Monitor(self._spec, self._layout, Stage.PRODUCTION)
        self._waiting: Seen | None = None
        self.opened_by: list[tuple[str, ...]] = []
        """Signals of each incident that opened."""

    def read(self, rows: Seen) -> list[int]:
        """Feed panes of `PANE_ROWS` rows; what does not fill one waits."""
        waiting = 0 if self._waiting is None else len(self._waiting)
        joined = rows if self._waiting is None else _joined(self._waiting, rows)
        alarms = []
        stop = 0
        for start in range(0, len(joined) - PANE_ROWS + 1, PANE_ROWS):
            stop = start + PANE_ROWS
            if self._observe(_part(joined, start, stop)):
                alarms.append(stop - 1 - waiting)
        self._waiting = _part(joined, stop, len(joined)) if stop < len(joined) else None
        return alarms

    def _observe(self, rows: Seen) -> bool:
        profile = self._layout.count(_rows(self._spec, rows)[0])
        profile.add(self._layout.count(_rows(self._spec, rows)[1]))
        parts = {phase: vector for (_, phase), vector in profile.parts.items()}
        pane = Pane(topic="rows", partition=0, from_offset=0, to_offset=1, rows=len(rows))
        opened = [e for e in self._monitor.observe(PaneCounts(pane, parts, None), ()) if e.change is Change.OPENED]
        self.opened_by += [tuple(verdict.signal for verdict in event.signals) for event in opened]
        return bool(opened)

    def copy(self) -> Self:
        """Go on from the saved state, as a successor would."""
        other = object.__new__(type(self))
        other._spec, other._layout, other._waiting = self._spec, self._layout, self._waiting
        other._monitor = Monitor(self._spec, self._layout, Stage.PRODUCTION)
        other._monitor.restore(deepcopy(self._monitor.state()))
        other.opened_by = []
        return other


def _rows(spec: ModelSpec, rows: Seen) -> list[Rows]:
    """The rows as predictions and as outcomes."""
    labels, predicted = ([str(each) for each in values.tolist()] for values in (rows.y, rows.predicted))
    outcomes = outcome_columns(spec, labels, predicted)
    features = tuple(np.ascontiguousarray(rows.x.T))
    return [
        _of(Source.PREDICTIONS, len(rows), (*features, predicted, *(None for _ in outcomes))),
        _of(Source.OUTCOMES, len(rows), (*(None for _ in features), None, *outcomes)),
    ]


def _of(source: Source, count: int, columns: tuple[Floats | list[str | None] | None, ...]) -> Rows:
    stages = np.full(count, STAGES.index(Stage.PRODUCTION), dtype=np.int8)
    return Rows(source, np.arange(count), np.full(count, np.nan), stages, columns)


def _part(rows: Seen, start: int, stop: int) -> Seen:
    return Seen(rows.x[start:stop], rows.y[start:stop], rows.predicted[start:stop])


def _joined(one: Seen, other: Seen) -> Seen:
    pairs = ((one.x, other.x), (one.y, other.y), (one.predicted, other.predicted))
    return Seen(*(np.concatenate(pair) for pair in pairs))


# -------------------------------------------------------------------------------------------------------------- rivals


class OnErrors:
    """One of River's detectors, at its defaults, on the stream of errors."""

    def __init__(self, make: Callable[[], drift.base.DriftDetector]) -> None:
        self._detector = make()

    def read(self, rows: Seen) -> list[int]:
        """Feed 0 and 1."""
        alarms = []
        update, detector = self._detector.update, self._detector
        for position, wrong in enumerate(rows.errors.astype(int).tolist()):
            update(wrong)
            if detector.drift_detected:
                alarms.append(position)
        return alarms

    def copy(self) -> Self:
        """Copy the detector."""
        return deepcopy(self)


class Psi:
    """PSI of consecutive windows of each feature and of the label against the warm-up, in deciles of the warm-up.

    It alarms in the first window above the threshold, and again only after `PSI_QUIET` windows below it: otherwise each
    window of a drift that lasts would count as an alarm of its own.
    """

    def __init__(self, warm_up: Seen) -> None:
        labels = [str(each) for each in warm_up.y.tolist()]
        binners = [make_binner(fit_number_bins(column)) for column in warm_up.x.T]
        self._binners = [*binners, make_binner(fit_category_bins(labels))]
        self._reference = self._counts(warm_up)
        self._waiting: Seen | None = None
        self._below = PSI_QUIET

    def _counts(self, rows: Seen) -> list[Ints]:
        columns = [*rows.x.T, [str(each) for each in rows.y.tolist()]]
        pairs = zip(self._binners, columns, strict=True)
        return [np.bincount(binner.index(column), minlength=binner.width) for binner, column in pairs]

    def read(self, rows: Seen) -> list[int]:
        """Judge each full window."""
        waiting = 0 if self._waiting is None else len(self._waiting)
        joined = rows if self._waiting is None else _joined(self._waiting, rows)
        alarms, stop = [], 0
        for start in range(0, len(joined) - PSI_ROWS + 1, PSI_ROWS):
            stop = start + PSI_ROWS
            pairs = zip(self._counts(_part(joined, start, stop)), self._reference, strict=True)
            if any(psi(now, then, corrected=False) > PSI_THRESHOLD for now, then in pairs):
                if self._below >= PSI_QUIET:
                    alarms.append(stop - 1 - waiting)
                self._below = 0
            else:
                self._below += 1
        self._waiting = _part(joined, stop, len(joined)) if stop < len(joined) else None
        return alarms

    def copy(self) -> Self:
        """Copy what waits."""
        return deepcopy(self)


@dataclass(slots=True)
class Always:
    """An alarm every 100 rows: what F1 is worth."""

    seen: int = 0

    def read(self, rows: Seen) -> list[int]:
        """Count."""
        first = (ALWAYS_EVERY - 1 - self.seen) % ALWAYS_EVERY
        self.seen += len(rows)
        return list(range(first, len(rows), ALWAYS_EVERY))

    def copy(self) -> Self:
        """Copy the count."""
        return deepcopy(self)


CONTENDERS: Final[Mapping[str, Callable[[Seen], Contender]]] = {
    "driftline": Driftline,
    "adwin": lambda _: OnErrors(drift.ADWIN),
    "kswin": lambda _: OnErrors(lambda: drift.KSWIN(seed=1)),
    "page_hinkley": lambda _: OnErrors(drift.PageHinkley),
    "ddm": lambda _: OnErrors(drift.binary.DDM),
    "eddm": lambda _: OnErrors(drift.binary.EDDM),
    "hddm_a": lambda _: OnErrors(drift.binary.HDDMA),
    "hddm_w": lambda _: OnErrors(drift.binary.HDDMW),
    "psi_128": Psi,
    "every_100": lambda _: Always(),
}
