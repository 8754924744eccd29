"""The model versions of one partition of ``profiles``: watched by a judge, or collecting their reference.

No Kafka here: `agents.verdicts` brings the events and takes away what is to be sent and saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import structlog

from detector.baseline import BaselineCollector
from detector.judge import ModelJudge
from detector.state import StateError
from schemas.model_spec import ModelSpec, Stage
from schemas.outbound import DriftEvent, ModelState, ModelStatus
from schemas.profiles import BaselineRows, ProfileTotal, UnregisteredRows
from schemas.schema_changes import SchemaChange

if TYPE_CHECKING:
    from agents.registry import Registration

Version = tuple[str, str]
"""Model and version."""
Source = tuple[str, int]
"""Topic and partition that rows came from."""

MOST_STRANGERS: Final = 1_000
"""Unregistered versions whose rows are shown; of more, only the metric tells."""

log = structlog.get_logger(__name__)


class Caseload:
    """Judges and collectors of one partition, and what of them has changed.

    Attributes
    ----------
    unsaved
        Versions whose judge has changed since it was last saved.
    unreported
        Versions whose status may have changed since it was last taken.
    """

    def __init__(self) -> None:
        self._judges: dict[Version, ModelJudge] = {}
        self._collectors: dict[Version, BaselineCollector] = {}
        self._strangers: dict[Version, dict[tuple[str, int], UnregisteredRows]] = {}
        self._notes: dict[Version, dict[str, str]] = {}
        self._stalled: set[Version] = set()
        self._missing: dict[tuple[Version, Source], int] = {}
        """Where forwarded rows of a source partition are missing, since their record was damaged."""
        self.unsaved: set[Version] = set()
        self.unreported: set[Version] = set()

    # ------------------------------------------------------------------------------------------ taking events

    def judge(self, total: ProfileTotal, registration: Registration) -> list[DriftEvent | SchemaChange]:
        """Fold in a total of the version that is in force; return what that decides, and what it shows of events."""
        judge = self._watch(registration)
        self._changed((total.model, total.version))
        return [*judge.fold(total), *judge.take_schema_changes()]

    def collect(self, rows: BaselineRows, registration: Registration) -> None:
        """Take forwarded rows for the reference of a version; rows that come after it was frozen are of no use."""
        version = (rows.model, rows.version)
        if registration.layout is not None:
            self._watch(registration)
            return
        self._strangers.pop(version, None)
        missing = self._missing.get((version, (rows.topic, rows.partition)))
        if missing is not None:
            if rows.from_offset > missing:
                return  # they would be taken for all that there are
            if rows.next_offset > missing:
                del self._missing[version, (rows.topic, rows.partition)]
                self.note(version, f"damaged {rows.topic}/{rows.partition}", None)
        if version not in self._collectors:
            self._collectors[version] = BaselineCollector(registration.spec)
            self.unreported.add(version)
        if self._collectors[version].add(rows):
            self.unreported.add(version)

    def miss(self, version: Version, source: Source, from_offset: int) -> None:
        """Note that forwarded rows from an offset on could not be read: later ones are not taken until they come."""
        self._missing.setdefault((version, source), from_offset)

    def count_stranger(self, rows: UnregisteredRows) -> None:
        """Note how many rows of an unregistered version a source partition has."""
        version = (rows.model, rows.version)
        if version not in self._strangers and len(self._strangers) >= MOST_STRANGERS:
            return
        self._strangers.setdefault(version, {})[rows.topic, rows.partition] = rows
        self.unreported.add(version)

    def follow(self, registration: Registration | None, version: Version) -> None:
        """Act on what the registry now says of a version: judge it, note refused specs, or let go of it."""
        if registration is None:
            self._judges.pop(version, None)
            self._collectors.pop(version, None)
            self.unsaved.discard(version)
            log.warning("a version was withdrawn and is no longer judged", model=version[0], version=version[1])
            return
        if registration.layout is not None and version in self._collectors:
            self._watch(registration)
        refused = ", ".join(hash_[:12] for hash_ in registration.refused)
        text = f"another spec was refused ({refused}): a version never changes, raise the version" if refused else None
        self.note(version, "refused", text)

    def _watch(self, registration: Registration) -> ModelJudge:
        """Return the judge of a version; a collector has done its work then."""
        spec = registration.spec
        version = (spec.model, spec.version)
        judge = self._judges.get(version)
        if judge is None or judge.layout.spec_hash != registration.spec_hash:
            judge = self._judges[version] = ModelJudge(spec)
            self._changed(version)
        self._collectors.pop(version, None)
        self._strangers.pop(version, None)
        return judge

    def _changed(self, version: Version) -> None:
        self.unsaved.add(version)
        self.unreported.add(version)

    # --------------------------------------------------------------------------------------------- references

    def complete(self) -> list[BaselineCollector]:
        """Collectors that have all their rows, and whose reference has not failed to freeze before."""
        return [
            collector
            for version, collector in self._collectors.items()
            if collector.complete and version not in self._stalled
        ]

    def stall(self, version: Version, why: str) -> None:
        """Leave a reference that cannot be frozen; its status says why."""
        self._stalled.add(version)
        self.note(version, "reference", why)

    # -------------------------------------------------------------------------------------- states and status

    def begin(self, spec: ModelSpec) -> None:
        """Judge a version from the first total that comes."""
        version = (spec.model, spec.version)
        self._judges[version] = ModelJudge(spec)
        self._changed(version)

    def restore(self, spec: ModelSpec, state: bytes) -> None:
        """Take up a judge where its saved state left off.

        Raises
        ------
        NewerStateError
            A newer release wrote it.
        StateError
            It cannot be read: nothing is changed.
        """
        try:
            self._judges[spec.model, spec.version] = ModelJudge.restore(spec, state)
        except StateError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StateError(f"its content does not fit: {error!r}") from error

    def incidents(self, version: Version) -> frozenset[str]:
        """Ids of the open incidents of a version."""
        return frozenset(status.incident_id for status in self._status(version) if status.incident_id is not None)

    def states(self) -> Iterator[tuple[Version, bytes]]:
        """States of the judges that have changed."""
        for version in sorted(self.unsaved):
            yield version, self._judges[version].state()

    def note(self, version: Version, topic: str, text: str | None) -> None:
        """Set, or with None clear, what a person should know of a version."""
        notes = self._notes.setdefault(version, {})
        if notes.get(topic) != text:
            self.unreported.add(version)
            if text is None:
                del notes[topic]
            else:
                notes[topic] = text
        if not notes:
            del self._notes[version]

    def statuses(self, versions: Iterable[Version]) -> Iterator[ModelStatus]:
        """Where versions stand, one status for each stage."""
        for version in sorted(versions):
            note = "; ".join(self._notes.get(version, {}).values())
            for status in self._status(version):
                yield status.model_copy(update={"note": note}) if note else status

    def _status(self, version: Version) -> list[ModelStatus]:
        if version in self._judges:
            return self._judges[version].status()
        if version in self._collectors:
            return [self._collectors[version].status()]
        if version in self._strangers:
            return [_stranger(version, list(self._strangers[version].values()))]
        return []

    @property
    def versions(self) -> list[Version]:
        """Registered versions that are here."""
        return [*self._judges, *self._collectors]


def _stranger(version: Version, counts: list[UnregisteredRows]) -> ModelStatus:
    return ModelStatus(
        model=version[0],
        version=version[1],
        stage=Stage.PRODUCTION,
        state=ModelState.UNREGISTERED,
        rows=sum(count.rows for count in counts),
        time=max((count.time for count in counts if count.time is not None), default=None),
        note="nobody registered this version: its rows are counted, not judged; see `driftline models`",
    )
