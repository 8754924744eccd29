"""Outcomes: those that bring their prediction become rows at once, the others are forwarded to the join.

An outcome brings its prediction if it names its version and answers (``prediction``, ``score`` or ``probabilities``).
It is then read as a prediction is (``sorting``). Of all others only model, version, id, label and time are of interest:
one decoder reads them for all models.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from aiokafka.structs import ConsumerRecord
from numpy.typing import NDArray

from agents import dead_letters
from agents.formats import lenient
from agents.formats.answers import NO_LABEL, NO_PREDICTION, is_answered
from agents.formats.columns import id_text, where_none
from agents.formats.decoded import DecodedRun
from agents.formats.groups import Envelopes, Refusal
from agents.formats.lenient import RefusedError
from agents.formats.times import disbelieved, seconds
from agents.joins.forwarding import Forward
from agents.runs import Run
from schemas.model_spec import ModelSpec
from schemas.outbound import DeadLetterReason
from schemas.performance import OutcomeSpec

if TYPE_CHECKING:
    from agents.registry import Registration

Versions = Callable[[str], "Sequence[Registration]"]
"""All registered versions of a model."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ANY_VERSION: Final = "(any)"
"""Stands for the version of labels of unknown models that name none."""

_UNDECODABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)


class _Outcome(msgspec.Struct, gc=False):
    """What is of interest of an outcome without its prediction, and what tells whether it has one."""

    model: str
    version: str | None = None
    rows: int | None = None
    prediction_id: Any = None
    label: Any = None
    time: Any = None
    prediction: Any = None
    score: Any = None
    probabilities: Any = None
    specversion: Any = None


_Row = tuple[int, _Outcome]
"""Position of a record in the run, and what it holds or one row of it."""

_open: Final = msgspec.json.Decoder(_Outcome).decode


class Labels:
    """Takes the labels out of a run of outcomes that must be joined.

    Parameters
    ----------
    versions
        The registry.
    run
        The records.
    max_record_bytes
        Larger records are not read.
    """

    def __init__(self, versions: Versions, run: Run, max_record_bytes: int) -> None:
        self._versions = versions
        self._run = run
        self._envelopes = Envelopes(run.records)
        self._found: defaultdict[tuple[str, str], list[_Row]] = defaultdict(list)
        self._refused: dict[int, Refusal] = {}
        self.rest: list[ConsumerRecord] = []
        """Records that bring their prediction, and those that cannot be read."""
        for position, record in enumerate(run.records):
            self._sort(position, record, max_record_bytes)

    def _sort(self, position: int, record: ConsumerRecord, limit: int) -> None:
        value = record.value or b""
        event = self._read(position, value) if 0 < len(value) <= limit else None
        if event is None or (
            event.version is not None and is_answered(event.prediction, event.score, event.probabilities)
        ):
            self.rest.append(record)
        elif event.prediction_id is None:
            self._refused[position] = (DeadLetterReason.INVALID_EVENT, NO_PREDICTION)
        elif event.label is None:
            self._refused[position] = (DeadLetterReason.INVALID_EVENT, NO_LABEL)
        else:
            self._found[event.model, event.version or ""].append((position, event))

    def _read(self, position: int, value: bytes) -> _Outcome | None:
        with suppress(*_UNDECODABLE):
            event = _open(value)
            if event.specversion is None:
                return event
        try:
            parsed, time = lenient.unwrap(lenient.parse(value))
            event = msgspec.convert(parsed, _Outcome)
        except (RefusedError, *_UNDECODABLE):
            return None
        if time is not None:
            self._envelopes.times[position] = time
        return event

    def finish(self, decoded: DecodedRun) -> None:
        """Add what was found to what was decoded of the rest."""
        for (model, version), found in self._found.items():
            self._forward(model, version, found, decoded)
        records = self._run.records
        letters = [dead_letters.build(records[position], *refusal) for position, refusal in self._refused.items()]
        decoded.letters = sorted([*decoded.letters, *letters], key=lambda letter: letter.origin.offset)

    def _forward(self, model: str, version: str, found: list[_Row], decoded: DecodedRun) -> None:
        registered = [each for each in self._versions(model) if version in ("", each.spec.version)]
        if not registered:
            self._count_strangers(model, version, found, decoded)
            return
        joined = [each.spec for each in registered if each.spec.outcomes is not None]
        if not joined:
            return
        # Ids that a version does not keep must not be lost for another that keeps more.
        spec = max(joined, key=lambda each: each.outcomes.sample if each.outcomes is not None else 0.0)
        rows = found if all(event.rows is None for _, event in found) else self._spread(found)
        if not rows:
            return
        positions = np.array([position for position, _ in rows], dtype=np.int64)
        times = self._times(rows, positions, spec)
        ids = [id_text(event.prediction_id) for _, event in rows]
        for row in where_none(ids):
            shown = str(rows[row][1].prediction_id)[:40]
            detail = f"`prediction_id` {shown!r} is none: write it as a string that is not empty"
            self._refused.setdefault(rows[row][0], (DeadLetterReason.INVALID_EVENT, detail))
        good = [row for row, id_ in enumerate(ids) if id_ is not None and not np.isnan(times[row])]
        decoded.forwards.append(
            Forward(
                model=model,
                version=version,
                ids=[str(ids[row]) for row in good],
                times=times[good],
                stages=np.zeros(len(good), dtype=np.int8),
                outcomes=spec.outcomes or OutcomeSpec(),
                labels=[rows[row][1].label for row in good],
            )
        )

    def _times(self, rows: list[_Row], positions: Ints, spec: ModelSpec) -> Floats:
        """(n,) times of the labels; NaN where one is refused."""
        raw = [event.time for _, event in rows]
        missing = where_none(raw)
        for row, time in zip(missing, self._envelopes.stand_ins(positions[missing].tolist()), strict=True):
            raw[row] = time
        times, problems = seconds(raw)
        appended = self._envelopes.appended[positions]
        unread = np.array([row in problems for row in range(len(rows))]) if problems else np.zeros(len(rows), np.bool_)
        times = np.where(np.isnan(times) & ~unread, appended, times)
        believable = np.flatnonzero(~unread)
        problems |= disbelieved(times[believable], appended[believable], spec.times, believable)
        for row, problem in problems.items():
            self._refused[rows[row][0]] = (DeadLetterReason.INVALID_TIME, problem)
            times[row] = np.nan
        return times

    def _spread(self, found: list[_Row]) -> list[_Row]:
        """Make an event of each row of those that have many."""
        rows: list[_Row] = []
        for position, event in found:
            if event.rows is None:
                rows.append((position, event))
                continue
            many = isinstance(event.time, list)
            columns = [event.prediction_id, event.label, *([event.time] if many else [])]
            if not all(isinstance(column, list) and len(column) == event.rows for column in columns):
                detail = f"`prediction_id`, `label` and a list of times must have {event.rows} entries, as `rows` says"
                self._refused[position] = (DeadLetterReason.INVALID_EVENT, detail)
                continue
            for row, (id_, label) in enumerate(zip(event.prediction_id, event.label, strict=True)):
                if label is not None:
                    time = event.time[row] if many else event.time
                    rows.append((position, _Outcome(event.model, prediction_id=id_, label=label, time=time)))
        return rows

    def _count_strangers(self, model: str, version: str, found: list[_Row], decoded: DecodedRun) -> None:
        try:
            lenient.identity({"model": model, "version": version or ANY_VERSION})
        except RefusedError as refusal:
            self._refused |= {position: (refusal.reason, refusal.detail) for position, _ in found}
            return
        name = (model, version or ANY_VERSION)
        rows = sum(min(event.rows or 1, self._envelopes.size(position)) for position, event in found)
        decoded.unregistered[name] = decoded.unregistered.get(name, 0) + rows
