"""What decoding sorts a run into: events of one model version that were decoded in one way."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, Final

import numpy as np
from aiokafka.structs import ConsumerRecord
from numpy.typing import NDArray

from agents.formats.structs import SpecDecoder
from schemas.model_spec import FeatureType
from schemas.outbound import DeadLetterReason

TIME_HEADER: Final = "ce_time"
"""The time attribute of a CloudEvent in binary mode."""

Refusal = tuple[DeadLetterReason, str]
"""Why a record becomes a dead letter, and the sentence for people."""


class Kind(Enum):
    """How an event was decoded: whether it has many rows, and whether its values are known to have their types."""

    ROW = (False, True)
    BATCH = (True, True)
    LENIENT_ROW = (False, False)
    LENIENT_BATCH = (True, False)

    def __init__(self, is_batch: bool, is_typed: bool) -> None:
        self.is_batch = is_batch
        self.is_typed = is_typed


@dataclass(slots=True)
class Group:
    """Events of one model version and kind in the order of the log."""

    decoder: SpecDecoder
    kind: Kind
    events: list[Any] = field(default_factory=list)
    records: list[int] = field(default_factory=list)
    """For each event the position of its record in the run."""

    @property
    def decode(self) -> Callable[[bytes], Any]:
        """The typed decoder for events of this kind."""
        return self.decoder.batch if self.kind.is_batch else self.decoder.row

    @property
    def may_be_invalid(self) -> bool:
        """Whether values can be invalid: a typed boolean can still be the number 2, a number out of its range."""
        return (
            not self.kind.is_typed
            or FeatureType.BOOLEAN in self.decoder.types
            or self.decoder.constraints.change_values
        )

    def without(self, positions: Container[int]) -> Group:
        """Leave out the events at these positions."""
        kept = [position for position in range(len(self.events)) if position not in positions]
        return Group(
            self.decoder, self.kind, [self.events[i] for i in kept], [self.records[i] for i in kept]
        )  # fmt: skip


class Envelopes:
    """What a run says of its events beside their values.

    Parameters
    ----------
    records
        The run's records, n of them.

    Attributes
    ----------
    offsets
        (n,) of the records.
    appended
        (n,) timestamps of the records in seconds since 1970; NaN where there is none.
    times
        Times of structured CloudEvents by position of the record.
    """

    def __init__(self, records: Sequence[ConsumerRecord[bytes, bytes]]) -> None:
        self.offsets: NDArray[np.int64] = np.array([record.offset for record in records], dtype=np.int64)
        stamps = np.array([record.timestamp for record in records], dtype=np.float64)
        self.appended: NDArray[np.float64] = np.where(stamps < 0, np.nan, stamps / 1_000.0)
        self.times: dict[int, Any] = {}
        self._records = records

    def size(self, position: int) -> int:
        """Length of a record's value in bytes."""
        return len(self._records[position].value or b"")

    def stand_ins(self, positions: Sequence[int]) -> list[Any]:
        """Times of the CloudEvents for events that have no time of their own; None where they have none either."""
        if not self.times and not self._have_headers:
            return [None] * len(positions)
        return [self.times.get(position) or self._time_header(position) for position in positions]

    @cached_property
    def _have_headers(self) -> bool:
        return any(record.headers for record in self._records)

    def _time_header(self, position: int) -> str | None:
        headers = dict(self._records[position].headers)
        return headers[TIME_HEADER].decode(errors="replace") if TIME_HEADER in headers else None
