"""Additive summaries of rows: an int64 vector for each stage and phase, in the layout of a model spec.

Where rows are broken down there is a shorter vector for each stage and segment too, with the same rows once more.

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
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.rows import STAGES
from schemas.model_spec import Stage
from schemas.profiles import ProfilePart

PartKey = tuple[Stage, int]
"""Stage and phase: the hour of the day or week, 0 where the spec has no seasonality."""

SegmentKey = tuple[Stage, int]
"""Stage and number of a segment (``detector.segments.table``)."""

Vector = NDArray[np.int64]

MAX_PHASES: Final = 168
"""Hours of a week."""

MAX_SEGMENTS: Final = 1_024

_FORMAT: Final = 1
_WITH_SEGMENTS: Final = 2
"""Of a profile: behind its parts stand those of its segments."""
_VECTOR: Final = struct.Struct("<BII")  # format, width, nonzero entries
_PROFILE: Final = struct.Struct("<BI")  # format, parts
_PART: Final = struct.Struct("<BHI")  # index into STAGES, phase, bytes that follow
_MAX_PARTS: Final = len(STAGES) * MAX_PHASES
_MAX_SEGMENT_PARTS: Final = len(STAGES) * MAX_SEGMENTS
_MAX_INFLATED: Final = 128 * 1_048_576


class ProfileError(ValueError):
    """An encoded profile that is damaged, or was made for another layout."""


class Profile:
    """Counts by stage and phase, and by stage and segment.

    Parameters
    ----------
    parts
        One int64 vector of ``Layout.width`` for each stage and phase. Vectors are shared between profiles and never
        changed in place: adding replaces them. So a part that nothing was added to is neither encoded nor decoded nor
        subtracted again, and a total of 168 phases costs no more than the one that rows fell in.
    segments
        Likewise one of ``Layout.segment_width`` for each stage and segment: the same rows, counted again.
    """

    __slots__ = ("_segment_texts", "_texts", "parts", "segments")

    def __init__(
        self, parts: Mapping[PartKey, Vector] | None = None, segments: Mapping[SegmentKey, Vector] | None = None
    ) -> None:
        self.parts: dict[PartKey, Vector] = dict(parts or {})
        self.segments: dict[SegmentKey, Vector] = dict(segments or {})
        self._texts: dict[PartKey, str] = {}
        self._segment_texts: dict[SegmentKey, str] = {}

    @property
    def rows(self) -> int:
        """Rows of features and of predictions, all parts together."""
        return sum(int(vector[0]) + int(vector[1]) for vector in self.parts.values())

    def add(self, other: Profile) -> None:
        """Add in place."""
        _add(self.parts, other.parts, self._texts)
        _add(self.segments, other.segments, self._segment_texts)

    def subtract(self, other: Profile) -> Profile:
        """Return what is in this profile and not in ``other``; parts in which nothing differs are left out."""
        return Profile(_subtract(self.parts, other.parts), _subtract(self.segments, other.segments))

    def copy(self) -> Profile:
        """Return a profile that is not changed by what is added to this one."""
        twin = Profile(self.parts, self.segments)
        twin._texts, twin._segment_texts = self._texts.copy(), self._segment_texts.copy()
        return twin

    def encode(self) -> str:
        """Encode all parts as one string; equal parts give equal text."""
        body = bytearray()
        for parts in (self.parts, self.segments) if self.segments else (self.parts,):
            body += _PROFILE.pack(_WITH_SEGMENTS if self.segments else _FORMAT, len(parts))
            for key in sorted(parts, key=_order):
                sparse = _sparse(parts[key])
                body += _PART.pack(*_order(key), len(sparse)) + sparse
        return _pack(bytes(body))

    @classmethod
    def decode(cls, text: str, width: int, segment_width: int = 0) -> Profile:
        """Read what ``encode`` wrote.

        Raises
        ------
        ProfileError
            If the text is damaged or holds vectors that are not ``width`` wide, or segments that are not
            ``segment_width`` wide.
        """
        largest = _largest(_MAX_PARTS, width) + (_largest(_MAX_SEGMENT_PARTS, segment_width) if segment_width else 0)
        body = _unpack(text, min(largest, _MAX_INFLATED))
        try:
            form, _ = _PROFILE.unpack_from(body)
            if form not in (_FORMAT, _WITH_SEGMENTS):
                raise ProfileError("an encoded profile of an unknown format")
            parts, end = _read_parts(body, 0, width, MAX_PHASES)
            segments: dict[SegmentKey, Vector] = {}
            if form == _WITH_SEGMENTS:
                segments, end = _read_parts(body, end, segment_width, MAX_SEGMENTS)
        except (struct.error, IndexError) as error:
            raise ProfileError("a damaged profile: it ends too early") from error
        if end != len(body):
            raise ProfileError("a damaged profile: its parts do not fit")
        return cls(parts, segments)

    def encode_parts(self) -> tuple[ProfilePart, ...]:
        """Encode each part by itself, in the order of stages and phases, then of stages and segments."""
        _encode_new(self.parts, self._texts)
        _encode_new(self.segments, self._segment_texts)
        return (
            *(
                ProfilePart(stage=key[0], phase=key[1], counts=self._texts[key])
                for key in sorted(self.parts, key=_order)
            ),
            *(
                ProfilePart(stage=key[0], phase=0, segment=key[1], counts=self._segment_texts[key])
                for key in sorted(self.segments, key=_order)
            ),
        )

    @classmethod
    def decode_parts(
        cls, parts: Iterable[ProfilePart], width: int, like: Profile | None = None, segment_width: int = 0
    ) -> Profile:
        """Read what ``encode_parts`` wrote.

        Parameters
        ----------
        like
            An earlier profile of these widths that was read from parts: a part that is still the same is taken over.

        Raises
        ------
        ProfileError
            If a part is damaged, repeated, of an impossible phase or segment, or not as wide as it should be.
        """
        profile, before = cls(), like or cls()
        for part in parts:
            if part.segment is None:
                place = _Place(part.phase, MAX_PHASES, width, profile.parts, profile._texts)
                known = before.parts, before._texts
            else:
                place = _Place(part.segment, MAX_SEGMENTS, segment_width, profile.segments, profile._segment_texts)
                known = before.segments, before._segment_texts
            place.read(part, *known)
        return profile

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Profile):
            return False
        difference = self.subtract(other)
        return not difference.parts and not difference.segments

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Profile({self.rows} rows in {len(self.parts)} parts)"


class _Place(NamedTuple):
    """Where a part that was read belongs."""

    number: int
    end: int
    width: int
    vectors: dict[tuple[Stage, int], Vector]
    texts: dict[tuple[Stage, int], str]

    def read(
        self, part: ProfilePart, known: Mapping[tuple[Stage, int], Vector], texts: Mapping[tuple[Stage, int], str]
    ) -> None:
        """Decode a part, or take it over where its text is known."""
        key = part.stage, self.number
        if key in self.vectors or not 0 <= self.number < self.end:
            raise ProfileError(f"a damaged profile: part {part.stage} {self.number} is repeated or impossible")
        self.vectors[key] = known[key] if texts.get(key) == part.counts else decode_part(part.counts, self.width)
        self.texts[key] = part.counts


def _add(
    mine: dict[tuple[Stage, int], Vector],
    theirs: Mapping[tuple[Stage, int], Vector],
    texts: dict[tuple[Stage, int], str],
) -> None:
    for key, vector in theirs.items():
        own = mine.get(key)
        if own is not None:
            _check_widths(own, vector)
        mine[key] = vector if own is None else own + vector
        texts.pop(key, None)


def _subtract(
    parts: Mapping[tuple[Stage, int], Vector], others: Mapping[tuple[Stage, int], Vector]
) -> dict[tuple[Stage, int], Vector]:
    rest: dict[tuple[Stage, int], Vector] = {}
    for key in parts.keys() | others.keys():
        mine, theirs = parts.get(key), others.get(key)
        if mine is theirs:
            continue
        if mine is not None and theirs is not None:
            _check_widths(mine, theirs)
        difference = _difference(mine, theirs)
        if difference.any():
            rest[key] = difference
    return {key: rest[key] for key in sorted(rest, key=_order)}


def _encode_new(parts: Mapping[tuple[Stage, int], Vector], texts: dict[tuple[Stage, int], str]) -> None:
    for key, vector in parts.items():
        if key not in texts:
            texts[key] = encode_part(vector)


def _largest(parts: int, width: int) -> int:
    """Bytes that so many parts inflate to at the most."""
    return _PROFILE.size + parts * (_PART.size + _VECTOR.size + 12 * width)


def _order(key: tuple[Stage, int]) -> tuple[int, int]:
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


def _read_parts(body: bytes, at: int, width: int, end: int) -> tuple[dict[tuple[Stage, int], Vector], int]:
    """Read parts whose numbers are below ``end``; return them and where they end in the body."""
    _, count = _PROFILE.unpack_from(body, at)
    if count > len(STAGES) * end:
        raise ProfileError("an encoded profile of an unknown format")
    at += _PROFILE.size
    parts: dict[tuple[Stage, int], Vector] = {}
    for _ in range(count):
        stage, number, length = _PART.unpack_from(body, at)
        at += _PART.size
        parts[STAGES[stage], number] = _dense(body[at : at + length], width)
        at += length
    if len(parts) != count or any(number >= end for _, number in parts):
        raise ProfileError("a damaged profile: its parts do not fit")
    return parts, at


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
