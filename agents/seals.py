"""The seal of a saved record: its format and its checksum, in headers, so that the value stays what its schema says.

What has no such headers is of format 1: written by a release that had none. A record that was copied to another topic,
or restored from a backup, keeps its headers; a value that was changed on the way does not fit them any more.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from agents.errors import OperatorError
from detector.state import UNSEALED, NewerStateError, StateError, migrated

FORMAT: Final = 2
"""Of the records that are written today to ``profiles`` and ``verdicts``. Raise it, and add a migration, when older
software must not read them."""
FORMAT_HEADER: Final = "driftline_format"
CHECKSUM_HEADER: Final = "driftline_crc32"

Headers = Iterable[tuple[str, bytes]]


class NewerFormatError(OperatorError):
    """A saved record was written by a newer release; this one must not touch it."""

    def __init__(self, what: str, why: object) -> None:
        super().__init__(
            f"{what} was written by a newer release of driftline ({why}): "
            "run that release, or choose another DRIFTLINE_TOPIC_PREFIX to begin anew"
        )


def seal_of(value: bytes, written: int = FORMAT) -> list[tuple[str, bytes]]:
    """Headers that seal a value."""
    return [(FORMAT_HEADER, str(written).encode()), (CHECKSUM_HEADER, _checksum(value, written))]


def check_seal(value: bytes, headers: Headers) -> int:
    """Compare a value with its seal and return its format.

    Raises
    ------
    NewerStateError
        The format is newer than this release knows; the checksum is right.
    StateError
        The value is not what was sealed.
    """
    found = dict(headers)
    if FORMAT_HEADER not in found and CHECKSUM_HEADER not in found:
        return UNSEALED
    text = found.get(FORMAT_HEADER, b"")
    written = int(text) if text.isdigit() else 0
    if found.get(CHECKSUM_HEADER) != _checksum(value, written):
        raise StateError(f"its checksum is wrong: {len(value)} bytes, damaged or cut off")
    if written > FORMAT:
        raise NewerStateError(f"its format is {written}, and this release reads up to {FORMAT}")
    return written


def event_today(value: bytes, written: int) -> bytes:
    """Bring the JSON of a saved event to today's format.

    Raises
    ------
    StateError
        It is of an older format, and no JSON.
    """
    if all(older < written for older in EVENT_MIGRATIONS):
        return value
    try:
        event = json.loads(value)
    except ValueError as error:
        raise StateError(f"it is no JSON: {error}") from error
    return json.dumps(migrated(event, written, EVENT_MIGRATIONS)).encode()


def _checksum(value: bytes, written: int) -> bytes:
    return f"{zlib.crc32(value, zlib.crc32(written.to_bytes(2, 'big'))):08x}".encode()


EVENT_MIGRATIONS: Final[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}
"""Of the events on ``profiles``, by the format that they read; from 1 to 2 only the seal was added."""
