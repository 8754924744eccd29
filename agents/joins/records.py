"""Records of the topic ``joins``: many predictions or labels in one, as compact as they can be.

A record is msgpack under a seal (`detector.state`): a list of sections. A section holds predictions of one model
version and stage, or labels of one model and version (or of no version: then the prediction's own counts). Instead of
ids there are hashes, of which 12 bytes suffice: among a thousand million waiting ids two are alike with a probability
of 10^-11.

==========  ==============================================================================================
payload     msgpack of
==========  ==============================================================================================
prediction  ``[watched value, predicted class or null]``, and the features where they wait too; where rows are
            broken down, last a list of the values of the fields
label       the label as it came
==========  ==============================================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.state import UNSEALED, NewerStateError, StateError, seal, unseal

ID_BYTES: Final = 12
LARGEST_PAYLOAD: Final = 65_535
"""Bytes; longer ones are not joined."""
MOST_ITEMS: Final = 65_536
"""In one record: an item's place in the log is one number, ``offset * MOST_ITEMS + index``."""

_FORMAT: Final = 2
_UNSEALED: Final = b"\x01"
"""What a record of format 1 begins with."""

Hashes = NDArray[np.void]
"""(n,) of ``HASH``."""

HASH: Final = np.dtype([("partition", "<u4"), ("sample", "<u4"), ("rest", "<u4")])
"""What parts of a hash decide, independently of each other: where an id goes, and whether a sample has it."""

_SHARES: Final = 2**32


class RecordError(ValueError):
    """A record of the topic ``joins`` that driftline did not write, or that is damaged."""


class Section(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Items of one side, model, version and stage."""

    is_label: bool
    model: str
    version: str
    """Empty for labels that name none."""
    stage: int
    """Index into ``detector.rows.STAGES``."""
    ids: bytes
    """``ID_BYTES`` for each item."""
    times: bytes
    """float64 for each: seconds since 1970."""
    payloads: list[bytes]

    def __len__(self) -> int:
        return len(self.payloads)


encode_payload: Final = msgspec.msgpack.Encoder().encode
decode_payload: Final = msgspec.msgpack.Decoder().decode
_encode_sections: Final = msgspec.msgpack.Encoder().encode
_decode_sections: Final = msgspec.msgpack.Decoder(list[Section]).decode


def hash_ids(model: str, ids: Iterable[str]) -> Hashes:
    """Hash prediction ids of a model, shape (n,)."""
    salted = hashlib.blake2b(digest_size=ID_BYTES)
    salted.update(model.encode() + b"/")
    digests = []
    for each in ids:
        hashed = salted.copy()
        hashed.update(each.encode(errors="surrogatepass"))
        digests.append(hashed.digest())
    return np.frombuffer(b"".join(digests), dtype=HASH)


def is_sampled(hashes: Hashes, share: float) -> NDArray[np.bool_]:
    """Tell which of n ids belong to a sample of a share of all."""
    sampled: NDArray[np.bool_] = hashes["sample"] < np.uint64(round(share * _SHARES))
    return sampled


def encode_record(sections: Sequence[Section]) -> bytes:
    """Write a record."""
    return seal(_encode_sections(sections), _FORMAT)


def decode_record(value: bytes | None) -> list[Section]:
    """Read a record.

    Raises
    ------
    NewerStateError
        If a newer release wrote it.
    RecordError
        If it is none, or damaged.
    """
    try:
        body, written = unseal(value or b"", _FORMAT)
        if written == UNSEALED:
            if body[:1] != _UNSEALED:
                raise RecordError("a record of the topic of joins of an unknown format")
            body = body[1:]
        sections: list[Section] = _decode_sections(body)
    except NewerStateError:
        raise
    except (msgspec.MsgspecError, StateError) as error:
        raise RecordError(f"a damaged record of the topic of joins: {error}") from error
    for section in sections:
        if len(section.ids) != ID_BYTES * len(section) or len(section.times) != 8 * len(section):
            raise RecordError("a damaged record of the topic of joins: its columns differ in length")
    if sum(map(len, sections)) > MOST_ITEMS:
        raise RecordError(f"a record of the topic of joins with more than {MOST_ITEMS} items")
    return sections


def payload_of(label: Any) -> bytes:
    """Write the payload of a label; one that is of no JSON scalar type is written as an empty list, which none is."""
    return encode_payload(label if isinstance(label, str | bool | int | float) else [])
