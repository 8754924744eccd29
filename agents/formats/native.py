"""driftline's own events (``schemas.inbound``) from Kafka records, a run at a time: the way in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from agents.formats.decoded import DecodedRun, ModelVersion
from agents.formats.groups import Kind
from agents.formats.outcomes import Labels, Versions
from agents.formats.sorting import Sorting
from agents.formats.structs import SpecDecoder
from agents.runs import Run
from detector.rows import Source

if TYPE_CHECKING:
    from agents.registry import Registration


class Limits(Protocol):
    """What the settings of the worker say about input."""

    @property
    def max_record_bytes(self) -> int:
        """Larger records are not read."""


class RunDecoder:
    """Decodes runs of records.

    Parameters
    ----------
    lookup
        The registry: what is in force for a model and version, or None.
    limits
        The settings.
    versions
        The registry: all versions of a model, for labels that name none.
    """

    def __init__(
        self,
        lookup: Callable[[str, str], Registration | None],
        limits: Limits,
        versions: Versions = lambda model: (),
    ) -> None:
        self._limits = limits
        self._versions = versions
        self._lookup = lookup
        self._decoders: dict[tuple[str, str, Source], tuple[Registration, SpecDecoder]] = {}
        self._last: dict[tuple[str, int], tuple[ModelVersion, Kind]] = {}

    def decode(self, run: Run, source: Source) -> DecodedRun:
        """Decode the records of a run.

        Parameters
        ----------
        run
            Consecutive records of one partition.
        source
            Which stream the topic is.
        """
        if source is not Source.OUTCOMES:
            return self._decode(run, source)
        labels = Labels(self._versions, run, self._limits.max_record_bytes)
        rest = Run(run.topic, run.partition, labels.rest)
        decoded = self._decode(rest, source) if labels.rest else DecodedRun()
        labels.finish(decoded)
        return decoded

    def _decode(self, run: Run, source: Source) -> DecodedRun:
        sorting = Sorting(self.find, run, source, self._limits.max_record_bytes)
        last = sorting.sort(self._last.get((run.topic, run.partition)))
        if last is not None:
            self._last[run.topic, run.partition] = last
        return sorting.finish()

    def find(self, name: ModelVersion, source: Source) -> tuple[Registration, SpecDecoder] | None:
        """Return what is in force for a model version and what decodes its events; None if nobody registered it."""
        registration = self._lookup(*name)
        if registration is None:
            return None
        known = self._decoders.get((*name, source))
        if known is None or known[0] is not registration:
            same = known is not None and known[0].spec == registration.spec
            known = (registration, known[1] if known and same else SpecDecoder(registration.spec, source))
            self._decoders[*name, source] = known
        return known
