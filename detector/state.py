"""Saved state as bytes: plain values and numpy arrays in MessagePack, deflated, under a seal. Nothing is unpickled.

The seal says of which format the bytes are, and holds their checksum::

    0xD7 "DL" | format, 2 bytes | CRC-32 of format and body, 4 bytes | body

Format 1 is what was written before there was a seal: the body alone. A state of an older format is brought to today's
by the migrations at the end of this file, oldest first; one of a newer format is refused. A CRC-32 finds every change
of up to 32 bits in a row, and of any other one all but 1 in 2^32 (Koopman, *32-bit cyclic redundancy codes for
internet applications*, 2002).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import numpy as np

FORMAT: Final = 2
"""Of the states written today. Raise it, and add a migration, when older software would misread a new state, or new
software an old one: not for a key that may be missing."""
UNSEALED: Final = 1
"""Format of what has no seal."""

_MAGIC: Final = b"\xd7DL"  # no deflated stream, JSON text or joins record of format 1 begins so
_SEAL: Final = struct.Struct(">3sHI")
_ARRAY: Final = 1
_DTYPES: Final = frozenset({"<i8", "<f8", "|i1", "|b1", "<i4"})
_LARGEST: Final = 256 * 1024 * 1024
"""A saved state never inflates to more bytes than this."""

State = dict[str, Any]


class StateError(ValueError):
    """A saved state cannot be read: damaged, or of another version."""


class NewerStateError(StateError):
    """A saved state was written by a newer release: it may be sound, and must not be thrown away."""


def pack(state: State) -> bytes:
    """Write a state; equal states give equal bytes."""
    return seal(zlib.compress(_ENCODER.encode(state), 1), FORMAT)


def unpack(data: bytes) -> State:
    """Read what ``pack`` wrote, today or in an earlier release.

    Raises
    ------
    NewerStateError
        If a newer release wrote it.
    StateError
        If the bytes are not such a state, or damaged.
    """
    body, written = unseal(data, FORMAT)
    return migrated(_decoded(body), written, MIGRATIONS)


def seal(body: bytes, written: int) -> bytes:
    """Put format and checksum before a body."""
    return _SEAL.pack(_MAGIC, written, _checksum(body, written)) + body


def unseal(data: bytes, newest: int) -> tuple[bytes, int]:
    """Check the seal, and return the body and its format; what has no seal is of format 1.

    Parameters
    ----------
    data
        What ``seal`` wrote.
    newest
        The newest format that the caller can read.

    Raises
    ------
    NewerStateError
        If the format is newer; its checksum is right.
    StateError
        If the checksum is wrong.
    """
    if not data.startswith(_MAGIC):
        return data, UNSEALED
    if len(data) < _SEAL.size:
        raise StateError(f"its seal is cut off: {len(data)} bytes")
    _, written, checksum = _SEAL.unpack_from(data)
    body = data[_SEAL.size :]
    if checksum != _checksum(body, written):
        raise StateError(f"its checksum is wrong: {len(data)} bytes, damaged or cut off")
    if written > newest:
        raise NewerStateError(f"its format is {written}, and this release reads up to {newest}")
    return body, written


def migrated(state: State, written: int, migrations: Mapping[int, Callable[[State], State]]) -> State:
    """Bring a state of the format ``written`` to today's, step by step.

    Raises
    ------
    StateError
        If a migration finds something else than it expects.
    """
    for older in sorted(each for each in migrations if each >= written):
        try:
            state = migrations[older](state)
        except (LookupError, TypeError, ValueError) as error:
            raise StateError(f"a saved state of format {older} cannot be brought to format {older + 1}: {error!r}"
                             ) from error  # fmt: skip
    return state


def _checksum(body: bytes, written: int) -> int:
    return zlib.crc32(body, zlib.crc32(written.to_bytes(2, "big")))


def _decoded(body: bytes) -> State:
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(body, _LARGEST)
        if inflater.unconsumed_tail:
            raise StateError(f"a saved state inflates to more than {_LARGEST} bytes")
        if not inflater.eof:
            raise StateError("a saved state cannot be read: it is cut off")
        state = _DECODER.decode(raw)
    except (zlib.error, msgspec.DecodeError) as error:
        raise StateError(f"a saved state cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise StateError("a saved state must be a map")
    return state


def _encode_array(value: Any) -> msgspec.msgpack.Ext:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"a {type(value).__name__} cannot be saved")
    array = np.ascontiguousarray(value)
    header = (array.dtype.str, array.shape, array.tobytes())
    return msgspec.msgpack.Ext(_ARRAY, msgspec.msgpack.encode(header))


def _decode_array(code: int, data: memoryview) -> np.ndarray[Any, Any]:
    if code != _ARRAY:
        raise StateError(f"a saved state holds an unknown type {code}")
    dtype, shape, content = msgspec.msgpack.decode(data, type=tuple[str, tuple[int, ...], bytes])
    if dtype not in _DTYPES:
        raise StateError(f"a saved state holds an array of an unexpected type {dtype!r}")
    try:
        return np.frombuffer(content, dtype=dtype).reshape(shape).copy()
    except ValueError as error:
        raise StateError(f"a saved state holds an array that is no array: {error}") from error


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_encode_array, order="deterministic")
_DECODER: Final = msgspec.msgpack.Decoder(ext_hook=_decode_array, strict=True)


def _sealed(state: State) -> State:
    """From 1 to 2 only the seal was added."""
    return state


MIGRATIONS: Final[dict[int, Callable[[State], State]]] = {1: _sealed}
"""By the format that they read; each makes the next one of it."""
