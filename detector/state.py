"""Saved state as bytes: plain values and numpy arrays in MessagePack, deflated. Nothing is unpickled."""

from __future__ import annotations

import zlib
from typing import Any, Final

import msgspec
import numpy as np

_ARRAY: Final = 1
_DTYPES: Final = frozenset({"<i8", "<f8", "|i1", "|b1", "<i4"})
_LARGEST: Final = 256 * 1024 * 1024
"""A saved state never inflates to more bytes than this."""


class StateError(ValueError):
    """A saved state cannot be read: damaged, or of another version."""


def pack(state: dict[str, Any]) -> bytes:
    """Write a state; equal states give equal bytes."""
    return zlib.compress(_ENCODER.encode(state), 1)


def unpack(data: bytes) -> dict[str, Any]:
    """Read what ``pack`` wrote.

    Raises
    ------
    StateError
        If the bytes are not such a state.
    """
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(data, _LARGEST)
        if inflater.unconsumed_tail:
            raise StateError(f"a saved state inflates to more than {_LARGEST} bytes")
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
    return np.frombuffer(content, dtype=dtype).reshape(shape).copy()


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_encode_array, order="deterministic")
_DECODER: Final = msgspec.msgpack.Decoder(ext_hook=_decode_array, strict=True)
