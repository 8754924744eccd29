"""What waits under a prediction id, and what comes of it when one more prediction or label arrives. Pure functions.

Under one id there can be predictions of several versions (a shadow answers the same request), and a label. Each of
them is a *part*; the parts that wait under an id are its *entry*.

A prediction and a label *match* when the later of the two arrives, if it does so within ``outcomes.wait`` of the
version. The first label counts: the same once more is a *duplicate*, another one later a *correction*, which is counted
and changes nothing, since what was judged cannot be judged again.

Matches are a function of the log alone. Each part keeps its place in the log, and a match belongs to the place of the
later part. When records are read again, after a crash, the parts are there already and know their places: the item at
that place gives the match once more, at the same place, and any other item gives nothing. So it does not matter how far
the store was ahead of what was counted, nor whether it was lost and built anew.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

Wait = Callable[[str], float]
"""Milliseconds that parts of a model version (``model/version``) wait for each other."""

_HEADER: Final = struct.Struct("<BBQQdHH")
"""Side, stage, place, stamp, time, bytes of the name, bytes of the payload."""
_LABEL: Final = 1


class Part(msgspec.Struct, frozen=True, gc=False):
    """A prediction or a label that waits under an id."""

    is_label: bool
    name: str
    """``model/version``; ``model/`` for a label that names no version."""
    place: int
    """In the log: ``offset * MOST_ITEMS + index``."""
    stamp: int
    """Timestamp of its record, milliseconds since 1970: by this clock it waits."""
    time: float
    """Event time, seconds since 1970."""
    stage: int
    payload: bytes


class Match(msgspec.Struct, frozen=True, gc=False):
    """A prediction whose label is known."""

    prediction: Part
    label: Part


class Fate(StrEnum):
    """What became of a label."""

    MATCHED = "matched"
    """It found its prediction, or its prediction found it."""
    DUPLICATE = "duplicate"
    """It was known already."""
    CORRECTED = "corrected"
    """Another label had come first, and counts."""
    EXPIRED = "expired"
    """It came after its prediction's time was up."""
    UNMATCHED = "unmatched"
    """No prediction came in its time."""


@dataclass(slots=True)
class Arrival:
    """What an item makes together with an entry."""

    entry: list[Part]
    """The entry from now on."""
    changed: bool
    matches: list[Match] = field(default_factory=list)
    fate: Fate | None = None
    """Of a label that came, if it is decided."""


def arrive(entry: list[Part], new: Part, wait: Wait) -> Arrival:
    """Take one more part.

    Parameters
    ----------
    entry
        What waits under its id, not changed.
    new
        The part; it may have been taken before.
    wait
        Of the model versions.
    """
    kept = entry
    for old in entry:
        if old.is_label is not new.is_label or old.name != new.name:
            continue
        if old.place == new.place:  # read again: it gives what it gave the first time
            return Arrival(entry, False, _matches(entry, new.place, wait))
        if old.place > new.place:  # its time was up, and another had taken its place, when it was read before
            return Arrival(entry, False)
        if new.stamp - old.stamp <= wait(old.name):
            return Arrival(entry, False, fate=_repeated(old, new) if new.is_label else None)
        kept = [part for part in kept if part is not old]
    arrival = Arrival([*kept, new], True)
    arrival.matches = _matches(arrival.entry, new.place, wait)
    if arrival.matches:
        arrival.fate = Fate.MATCHED
    elif new.is_label:
        arrival.fate = _undecided(kept, new, wait)
    return arrival


def _repeated(old: Part, new: Part) -> Fate:
    return Fate.DUPLICATE if old.payload == new.payload else Fate.CORRECTED


def _undecided(entry: list[Part], label: Part, wait: Wait) -> Fate | None:
    """Say why a label matches nothing; None where it waits for its prediction."""
    predictions = [part for part in entry if not part.is_label and _concerns(label, part)]
    for prediction in predictions:
        first = _first_label(entry, prediction, wait)
        if first is not None:
            return _repeated(first, label)
    return Fate.EXPIRED if predictions else None


def _matches(entry: list[Part], place: int, wait: Wait) -> list[Match]:
    """Find the matches that were completed at a place of the log."""
    found: list[Match] = []
    if len(entry) < 2:
        return found
    for prediction in entry:
        if not prediction.is_label:
            label = _first_label(entry, prediction, wait)
            if label is not None and max(prediction.place, label.place) == place:
                found.append(Match(prediction, label))
    return found


def _first_label(entry: list[Part], prediction: Part, wait: Wait) -> Part | None:
    """The first label that came in the prediction's time."""
    longest = wait(prediction.name)
    first: Part | None = None
    for part in entry:
        in_time = part.is_label and abs(part.stamp - prediction.stamp) <= longest
        if in_time and _concerns(part, prediction) and (first is None or part.place < first.place):
            first = part
    return first


def _concerns(label: Part, prediction: Part) -> bool:
    return label.name == prediction.name or label.name.endswith("/")


def is_over(entry: list[Part], now: int, wait: Wait) -> bool:
    """Whether the time of all parts is up at ``now`` (milliseconds since 1970)."""
    return all(now - part.stamp > wait(part.name) for part in entry)


def unmatched(entry: list[Part]) -> list[Part]:
    """Labels to which no prediction came."""
    predictions = [part for part in entry if not part.is_label]
    return [part for part in entry if part.is_label and not any(_concerns(part, each) for each in predictions)]


def encode_entry(entry: list[Part]) -> bytes:
    """Write an entry for the store: its parts, one behind the other."""
    return b"".join(map(encode_part, entry))


def encode_part(part: Part) -> bytes:
    """Write one part of an entry."""
    name, payload = part.name.encode(), part.payload
    head = _HEADER.pack(part.is_label, part.stage, part.place, part.stamp, part.time, len(name), len(payload))
    return head + name + payload


def decode_entry(value: bytes) -> list[Part]:
    """Read what `encode_entry` wrote."""
    entry, at = [], 0
    while at < len(value):
        side, stage, place, stamp, time, name_bytes, payload_bytes = _HEADER.unpack_from(value, at)
        at += _HEADER.size
        name = value[at : at + name_bytes].decode()
        at += name_bytes
        entry.append(Part(side == _LABEL, name, place, stamp, time, stage, value[at : at + payload_bytes]))
        at += payload_bytes
    return entry
