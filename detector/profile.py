"""Additive summaries of rows: an int64 vector for each stage and phase, in the layout of a model spec.

Vectors add and subtract modulo 2^64. A total may therefore wrap and the difference of two totals is still exact, as
long as the rows between them fit: that is what lets a profile be a prefix sum of a log that never ends.

Encoded, a vector is sparse: gaps between the positions of its nonzero entries (uint32), then the entries (zigzag
uint64), each with the bytes of equal weight side by side, deflated, in base64. Decoding trusts nothing: sizes are
bounded before anything is inflated, and what does not fit the expected width is refused.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.rows import STAGES
from schemas.model_spec import Stage
from schemas.profiles import ProfilePart

PartKey = tuple[Stage, int]
"""Stage and phase: the hour of the day or week, 0 where the spec has no seasonality."""

Vector = NDArray[np.int64]

MAX_PHASES: Final = 168
"""Hours of a week."""

_FORMAT: Final = 1
_VECTOR: Final = struct.Struct("<BII")  # format, width, nonzero entries
_PROFILE: Final = struct.Struct("<BI")  # format, parts
_PART: Final = struct.Struct("<BHI")  # index into STAGES, phase, bytes that follow
_MAX_PARTS: Final = len(STAGES) * MAX_PHASES
_MAX_INFLATED: Final = 128 * 1_048_576


class ProfileError(ValueError):
    """An encoded profile that is damaged, or was made for another layout."""


class Profile:
    """Counts by stage and phase.

    Parameters
    ----------
    parts
        One int64 vector of ``Layout.width`` for each stage and phase. Vectors are shared between profiles and never
        changed in place: adding replaces them. So a part that nothing was added to is neither encoded nor decoded nor
        subtracted again, and a total of 168 phases costs no more than the one that rows fell in.
    """

    __slots__ = ("_texts", "parts")

    def __init__(self, parts: Mapping[PartKey, Vector] | None = None) -> None:
        self.parts: dict[PartKey, Vector] = dict(parts or {})
        self._texts: dict[PartKey, str] = {}

    @property
    def rows(self) -> int:
        """Rows of features and of predictions, all parts together."""
        return sum(int(vector[0]) + int(vector[1]) for vector in self.parts.values())

    def add(self, other: Profile) -> None:
        """Add in place."""
        for key, vector in other.parts.items():
            mine = self.parts.get(key)
            if mine is not None:
                _check_widths(mine, vector)
            self.parts[key] = vector if mine is None else mine + vector
            self._texts.pop(key, None)

    def subtract(self, other: Profile) -> Profile:
        """Return what is in this profile and not in ``other``; parts in which nothing differs are left out."""
        rest: dict[PartKey, Vector] = {}
        for key in self.parts.keys() | other.parts.keys():
            mine, theirs = self.parts.get(key), other.parts.get(key)
            if mine is theirs:
                continue
            if mine is not None and theirs is not None:
                _check_widths(mine, theirs)
            difference = _difference(mine, theirs)
            if difference.any():
                rest[key] = difference
        return Profile({key: rest[key] for key in sorted(rest, key=_order)})

    def copy(self) -> Profile:
        """Return a profile that is not changed by what is added to this one."""
        twin = Profile(self.parts)
        twin._texts = self._texts.copy()
        return twin

    def encode(self) -> str:
        """Encode all parts as one string; equal parts give equal text."""
        body = bytearray(_PROFILE.pack(_FORMAT, len(self.parts)))
        for key in self._keys():
            sparse = _sparse(self.parts[key])
            body += _PART.pack(*_order(key), len(sparse)) + sparse
        return _pack(bytes(body))

    @classmethod
    def decode(cls, text: str, width: int) -> Profile:
        """Read what ``encode`` wrote.

        Raises
        ------
        ProfileError
            If the text is damaged or holds vectors that are not ``width`` wide.
        """
        largest = _PROFILE.size + _MAX_PARTS * (_PART.size + _VECTOR.size + 12 * width)
        body = _unpack(text, min(largest, _MAX_INFLATED))
        try:
            return cls(_read_parts(body, width))
        except (struct.error, IndexError) as error:
            raise ProfileError("a damaged profile: it ends too early") from error

    def encode_parts(self) -> tuple[ProfilePart, ...]:
        """Encode each part by itself, in the order of stages and phases: what a ``ProfileTotal`` carries."""
        for key, vector in self.parts.items():
            if key not in self._texts:
                self._texts[key] = encode_part(vector)
        return tuple(
            ProfilePart(stage=stage, phase=phase, counts=self._texts[stage, phase]) for stage, phase in self._keys()
        )

    @classmethod
    def decode_parts(cls, parts: Iterable[ProfilePart], width: int, like: Profile | None = None) -> Profile:
        """Read what ``encode_parts`` wrote.

        Parameters
        ----------
        like
            An earlier profile of this width that was read from parts: a part that is still the same is taken over.

        Raises
        ------
        ProfileError
            If a part is damaged, repeated, of an impossible phase, or not ``width`` wide.
        """
        profile = cls()
        for part in parts:
            key = (part.stage, part.phase)
            if key in profile.parts or not 0 <= part.phase < MAX_PHASES:
                raise ProfileError(f"a damaged profile: part {part.stage} {part.phase} is repeated or impossible")
            if like is not None and like._texts.get(key) == part.counts:
                profile.parts[key] = like.parts[key]
            else:
                profile.parts[key] = decode_part(part.counts, width)
            profile._texts[key] = part.counts
        return profile

    def _keys(self) -> list[PartKey]:
        return sorted(self.parts, key=_order)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and not self.subtract(other).parts

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Profile({self.rows} rows in {len(self.parts)} parts)"


def _order(key: PartKey) -> tuple[int, int]:
    return STAGES.index(key[0]), key[1]


def _check_widths(one: Vector, other: Vector) -> None:
    if one.shape != other.shape:
        raise ProfileError(f"profiles of different layouts: {len(one)} and {len(other)} wide")


def _difference(mine: Vector | None, theirs: Vector | None) -> Vector:
    if theirs is None:
        assert mine is not None  # noqa: S101  (the key came from one of the two)
        return mine.copy()
    return -theirs if mine is None else mine - theirs


def encode_part(vector: Vector) -> str:
    """Encode one vector; equal vectors give equal text."""
    return _pack(_sparse(vector))


def decode_part(text: str, width: int) -> Vector:
    """Decode one vector.

    Raises
    ------
    ProfileError
        If the text is damaged or holds a vector that is not ``width`` wide.
    """
    return _dense(_unpack(text, _VECTOR.size + 12 * width), width)


def _read_parts(body: bytes, width: int) -> dict[PartKey, Vector]:
    form, count = _PROFILE.unpack_from(body)
    if form != _FORMAT or count > _MAX_PARTS:
        raise ProfileError("an encoded profile of an unknown format")
    at = _PROFILE.size
    parts: dict[PartKey, Vector] = {}
    for _ in range(count):
        stage, phase, length = _PART.unpack_from(body, at)
        at += _PART.size
        parts[STAGES[stage], phase] = _dense(body[at : at + length], width)
        at += length
    if at != len(body) or len(parts) != count or any(phase >= MAX_PHASES for _, phase in parts):
        raise ProfileError("a damaged profile: its parts do not fit")
    return parts


def _sparse(vector: Vector) -> bytes:
    """Write the nonzero entries: header, gaps between their positions, zigzag values."""
    positions = np.flatnonzero(vector)
    values = vector[positions]
    gaps = positions.astype("<u4")
    gaps[1:] -= gaps[:-1].copy()
    gaps[:1] += 1
    zigzag = ((values << 1) ^ (values >> 63)).astype("<u8")
    return _VECTOR.pack(_FORMAT, len(vector), len(positions)) + _shuffled(gaps) + _shuffled(zigzag)


def _dense(body: bytes, width: int) -> Vector:
    if len(body) < _VECTOR.size:
        raise ProfileError("a damaged profile: it ends too early")
    form, wide, count = _VECTOR.unpack_from(body)
    if form != _FORMAT:
        raise ProfileError("an encoded profile of an unknown format")
    if wide != width:
        raise ProfileError(f"a profile of another layout: {wide} wide where {width} was expected")
    if count > width or len(body) != _VECTOR.size + 12 * count:
        raise ProfileError("a damaged profile: its length does not fit its header")
    split = _VECTOR.size + 4 * count
    gaps = _unshuffled(body[_VECTOR.size : split], "<u4")
    zigzag = _unshuffled(body[split:], "<u8")
    positions = np.cumsum(gaps, dtype=np.int64) - 1
    if count and (int(positions[-1]) >= width or not gaps.all()):
        raise ProfileError("a damaged profile: positions out of range")
    vector = np.zeros(width, dtype=np.int64)
    vector[positions] = (zigzag >> 1).astype(np.int64) ^ -(zigzag & 1).astype(np.int64)
    return vector


def _shuffled(numbers: NDArray[np.unsignedinteger]) -> bytes:
    """Put the bytes of equal weight side by side: small numbers leave long runs of zeros, which deflate well."""
    return numbers.view(np.uint8).reshape(len(numbers), numbers.itemsize).T.tobytes()


def _unshuffled(body: bytes, dtype: str) -> NDArray[np.unsignedinteger]:
    size = np.dtype(dtype).itemsize
    return np.ascontiguousarray(np.frombuffer(body, dtype=np.uint8).reshape(size, -1).T).view(dtype).reshape(-1)


def _pack(body: bytes) -> str:
    return base64.b64encode(zlib.compress(body, 1)).decode("ascii")


def _unpack(text: str, largest: int) -> bytes:
    """Inflate at most ``largest`` bytes."""
    if len(text) > 2 * largest + 1_024:
        raise ProfileError("a profile larger than its layout allows")
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(base64.b64decode(text, validate=True), largest + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ProfileError("a damaged profile: not deflated base64") from error
    if len(body) > largest:
        raise ProfileError("a profile larger than its layout allows")
    if not inflater.eof or inflater.unused_data:
        raise ProfileError("a damaged profile: it ends too early or too late")
    return body
