"""Says what every total must be, from the raw input topics alone, and compares.

It shares no line with the worker: records are read with a client of its own, decoded by the contract (`schemas`), and
counted with numpy (`tests.faults.counts`). What it holds the worker to:

- *Totals.* For each model and partition of ``features``, ``predictions`` and ``outcomes`` (of labels that bring their
  prediction): the counts of all rows from ``started_at`` to the end of the log, less those that the total says
  retention took. For each partition of ``joins``: one row for each prediction
  id that has a prediction and a label, however often each of them came, and with it the table of scores and labels
  that metrics are read from, and how late the label was.
- *Commits.* No offset is committed up to which something is not in a saved total.

A difference names the model, the partition and the offsets between which it came about: those of the first published
total that is wrong, and of the last one before that was right.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiokafka.structs import ConsumerRecord
from pydantic import ValidationError

from schemas.inbound import FeatureEvent, OutcomeEvent, PredictionEvent
from schemas.model_spec import FeaturesFrom, FeatureType, ModelSpec, OffsetRange, feature_signal
from schemas.profiles import PROFILE_EVENT, ProfileTotal
from tests.faults.counts import FEATURES_AT, OUTCOMES_AT, PREDICTIONS_AT, Table, Vector
from tests.faults.log import Place, read
from tests.faults.pairs import JOINED, LABEL, LAG, SCORE

ID_BYTES: Final = 12
_TIME: Final = "time"
"""Of a prediction, in seconds since 1970."""
_MISSING: Final = {FeatureType.NUMBER: math.nan, FeatureType.CATEGORY: None, FeatureType.BOOLEAN: None}
_ROWS_AT: Final = {"features": FEATURES_AT, "predictions": PREDICTIONS_AT, "outcomes": OUTCOMES_AT}
"""Where the rows of a topic stand in a vector."""
Values = Mapping[str, Any]
AnyEvent = TypeVar("AnyEvent", FeatureEvent, PredictionEvent, OutcomeEvent)


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows that are missing in a total or too many, and where in the log that happened."""

    model: str
    topic: str
    partition: int
    from_offset: int
    to_offset: int
    lost: int
    double: int
    where: tuple[str, ...]

    def __str__(self) -> str:
        return (f"{self.model}: {self.topic}/{self.partition} offsets {self.from_offset} to {self.to_offset}: "
                f"{self.lost} lost, {self.double} double, seen in {', '.join(self.where)}")  # fmt: skip


class Oracle:
    """Knows the raw input of a trial.

    Parameters
    ----------
    servers
        Of the broker, by a way that no fault is on.
    prefix
        Of the names of the topics.
    specs
        Of the models that are watched, each of one version.
    """

    def __init__(self, servers: str, prefix: str, specs: Iterable[ModelSpec]) -> None:
        self._servers = servers
        self._prefix = prefix
        self._tables = {spec.model: Table(spec) for spec in specs}
        self._specs = {spec.model: spec for spec in specs}
        self._read_to: dict[Place, int] = {}
        self._rows: dict[tuple[str, Place], dict[int, Values]] = defaultdict(dict)
        """Values by signal of each row, by offset."""
        self._predictions: dict[tuple[str, str], list[tuple[Place, int]]] = defaultdict(list)
        """By model and id: where its predictions lie."""
        self._labels: dict[tuple[str, str], tuple[str, float]] = {}
        """By model and id: what the first label says, and when it became known."""
        self._removed: dict[tuple[str, Place], Sequence[OffsetRange]] = {}
        """What the totals say that retention took, as of the last comparison."""
        self.events = 0
        """Records of the input topics that were seen."""
        self.refused = 0
        """Of those, how many are no events, or are not believed: each makes a dead letter."""

    # ------------------------------------------------------------------------------------------------- reading

    async def look(self) -> dict[Place, int]:
        """Read on to the end of the input topics, and return where they end; before retention removes something."""
        takes = {"features": self._take_features, "predictions": self._take_prediction, "outcomes": self._take_outcome}
        for name, take in takes.items():
            topic = self._prefix + name
            start = {partition: end for (of, partition), end in self._read_to.items() if of == topic}
            found, ends = await read(self._servers, topic, start)
            for partition, records in found.items():
                self._read_to[topic, partition] = ends[partition]
                self.events += len(records)
                for record in records:
                    take(record)
        return dict(self._read_to)

    def _take_features(self, record: ConsumerRecord) -> None:
        if (event := self._read(FeatureEvent, record)) is not None:
            spec = self._specs[event.model]
            if spec.features_from is FeaturesFrom.FEATURES:
                self._rows[event.model, (record.topic, record.partition)][record.offset] = _features(event, spec)

    def _take_prediction(self, record: ConsumerRecord) -> None:
        if (event := self._read(PredictionEvent, record)) is None:
            return
        place = (record.topic, record.partition)
        spec = self._specs[event.model]
        values = _features(event, spec) if spec.features_from is FeaturesFrom.PREDICTIONS else {}
        values |= {SCORE: event.score if event.score is not None else math.nan, _TIME: _seconds(event.time, record)}
        self._rows[event.model, place][record.offset] = values
        if event.prediction_id is not None:
            self._predictions[event.model, event.prediction_id].append((place, record.offset))

    def _take_outcome(self, record: ConsumerRecord) -> None:
        if (event := self._read(OutcomeEvent, record)) is None:
            return
        said = str(event.label), _seconds(event.time, record)
        if event.score is not None:
            values = {SCORE: event.score, _TIME: _seconds(event.prediction_time, record)}
            pair = _pair(values, said, joined=False)
            self._rows[event.model, (record.topic, record.partition)][record.offset] = pair
        elif event.prediction_id is not None:
            self._labels.setdefault((event.model, event.prediction_id), said)

    def _read(self, kind: type[AnyEvent], record: ConsumerRecord) -> AnyEvent | None:
        """Decode a record; None where it is no event of a version that is watched, or is not believed."""
        try:
            event = kind.model_validate_json(record.value or b"")
        except ValidationError:
            self.refused += 1
            return None
        spec = self._specs.get(event.model)
        if spec is None or event.version not in (None, spec.version):
            return None
        if event.time is not None:
            ahead_s = event.time.timestamp() - record.timestamp / 1_000
            if ahead_s > spec.times.max_ahead.total_seconds():
                self.refused += 1
                return None
        return event

    def rows_of(self, model: str) -> tuple[int, int]:
        """How many rows a model has, and how many pairs of a prediction and a label, of what was not lost."""
        rows = {of[1][0]: 0 for of in self._rows}
        for (of, (topic, _)), found in self._rows.items():
            rows[topic] += len(found) if of == model else 0
        complete = rows.pop(f"{self._prefix}outcomes", 0)
        pairs = sum(self._prediction(key) is not None for key in self._labels if key[0] == model)
        return sum(rows.values()), pairs + complete

    def _prediction(self, key: tuple[str, str]) -> Values | None:
        """The prediction of an id; None: there is none, or retention took it before the worker saw it."""
        for place, offset in self._predictions.get(key, ()):
            gaps = self._removed.get((key[0], place), ())
            if not any(gap.from_offset <= offset < gap.to_offset for gap in gaps):
                return self._rows[key[0], place][offset]
        return None

    # ----------------------------------------------------------------------------------------------- comparing

    async def published(self) -> list[ProfileTotal]:
        """All totals on the topic ``profiles``, in the order of the log."""
        found, _ = await read(self._servers, f"{self._prefix}profiles")
        events = [PROFILE_EVENT.validate_json(each.value) for log in found.values() for each in log if each.value]
        return [event for event in events if isinstance(event, ProfileTotal)]

    async def compare(self, totals: Sequence[ProfileTotal]) -> list[Difference]:
        """Compare what was counted with the input as it is now; empty where they are equal.

        Parameters
        ----------
        totals
            Published totals or those of a running worker; of each partition and model the furthest is compared, and
            the others tell where it went wrong.
        """
        ends = await self.look()
        by_place: dict[tuple[str, Place], list[ProfileTotal]] = defaultdict(list)
        for total in totals:
            by_place[total.model, (total.topic, total.partition)].append(total)
        self._removed = {key: _in_order(of)[-1].uncounted for key, of in by_place.items()}
        logs = {key for key in self._rows if self._rows[key]} | {key for key in by_place if key[1] in ends}
        found = [self._of_log(key, _in_order(by_place[key]), ends) for key in sorted(logs)]
        found += await self._of_pairs(by_place)
        return [difference for difference in found if difference is not None]

    def _of_log(
        self, key: tuple[str, Place], totals: Sequence[ProfileTotal], ends: Mapping[Place, int]
    ) -> Difference | None:
        model, (topic, partition) = key
        table, end = self._tables[model], ends[topic, partition]
        last = totals[-1] if totals else None
        expected, found = self._expected(key, last, end), table.read(last)
        if (expected == found).all():
            return None
        right = last.started_at if last is not None else 0
        wrong = end
        for total in totals:
            if total.incarnation == totals[-1].incarnation:
                if (self._expected(key, total, total.next_offset) != table.read(total)).any():
                    wrong = total.next_offset
                    break
                right = total.next_offset
        lost, double = table.lost_and_double(expected, found)
        return Difference(model, topic, partition, right, wrong, lost, double, tuple(table.names(expected, found)))

    def _expected(self, key: tuple[str, Place], total: ProfileTotal | None, stop: int) -> Vector:
        start, gaps = (0, ()) if total is None else (total.started_at, total.uncounted)
        rows = [
            values
            for offset, values in sorted(self._rows[key].items())
            if start <= offset < stop and not any(gap.from_offset <= offset < gap.to_offset for gap in gaps)
        ]
        return self._tables[key[0]].count(_ROWS_AT[key[1][0].removeprefix(self._prefix)], rows)

    async def _of_pairs(self, by_place: Mapping[tuple[str, Place], Sequence[ProfileTotal]]) -> list[Difference | None]:
        topic = f"{self._prefix}joins"
        _, ends = await read(self._servers, topic)
        pairs: dict[tuple[str, int], list[Values]] = defaultdict(list)
        for (model, id_), said in self._labels.items():
            if (values := self._prediction((model, id_))) is not None:
                pairs[model, _home(model, id_, len(ends))].append(_pair(values, said, joined=True))
        differences: list[Difference | None] = []
        for model, table in self._tables.items():
            for partition, end in ends.items():
                last = (_in_order(by_place.get((model, (topic, partition)), ())) or [None])[-1]
                expected, found = table.count(OUTCOMES_AT, pairs[model, partition]), table.read(last)
                if (expected != found).any():
                    lost, double = table.lost_and_double(expected, found)
                    start = last.started_at if last is not None else 0
                    names = tuple(table.names(expected, found))
                    differences.append(Difference(model, topic, partition, start, end, lost, double, names))
        return differences

    def commits_ahead(self, commits: Mapping[Place, int], totals: Iterable[ProfileTotal]) -> list[OffsetRange]:
        """Offsets of predictions that are committed and in no saved total: there may be none, ever."""
        reached: dict[tuple[str, Place], int] = {}
        for total in totals:
            key = (total.model, (total.topic, total.partition))
            reached[key] = max(reached.get(key, 0), total.next_offset)
        ahead = []
        for (model, place), rows in self._rows.items():
            saved, committed = reached.get((model, place), 0), commits.get(place, 0)
            if any(saved <= offset < committed for offset in rows):
                ahead.append(OffsetRange(topic=place[0], partition=place[1], from_offset=saved, to_offset=committed))
        return ahead


def _in_order(totals: Iterable[ProfileTotal]) -> list[ProfileTotal]:
    return sorted(totals, key=lambda total: (total.incarnation, total.next_offset))


def _features(event: FeatureEvent | PredictionEvent, spec: ModelSpec) -> dict[str, Any]:
    features = event.features or {}
    return {feature_signal(each.name): features.get(each.name, _MISSING[each.type]) for each in spec.features}


def _pair(values: Values, said: tuple[str, float], *, joined: bool) -> Values:
    label, known_at = said
    wrong = (values[SCORE] >= 0.5) != (label == "1")
    return {LABEL: label, "performance:error": "true" if wrong else "false",
            SCORE: values[SCORE], LAG: known_at - values[_TIME], JOINED: joined}  # fmt: skip


def _seconds(time: Any, record: ConsumerRecord) -> float:
    """When an event says that it happened, in seconds since 1970; the record's timestamp stands in."""
    return float(time.timestamp() if time is not None else record.timestamp / 1_000)


def _home(model: str, id_: str, partitions: int) -> int:
    """The partition of ``joins`` in which an id waits."""
    digest = hashlib.blake2b(f"{model}/{id_}".encode(), digest_size=ID_BYTES).digest()
    return int.from_bytes(digest[:4], "little") % partitions
