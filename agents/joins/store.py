"""What waits for its other half, on the local disk: one RocksDB for each partition of ``joins``.

A write is one batch, with the offset up to which the log was taken in: after a crash the store is that of a true prefix
of the log, whichever. With the offset stands a fingerprint of the last record, so that a store of another log (the
topic was made anew, the broker is another one) is recognised and given up.

The store is a cache: it can be deleted at any time and is built anew from the log. So it is where it is damaged
(RocksDB has a checksum for each block, the checkpoint one of its own), and where another release has written it in
another format.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from aiokafka.structs import ConsumerRecord
from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteBatch

from agents.errors import OperatorError
from detector.state import UNSEALED, StateError, seal, unseal

CACHE_BYTES: Final = 32 * 1_048_576
"""Of blocks read, shared by all stores of a worker."""
WRITE_BUFFER_BYTES: Final = 8 * 1_048_576
"""Of each store; there are at most two at a time."""
OPEN_FILES: Final = 64
BLOOM_BITS: Final = 10
"""For each entry: one in a hundred ids that are not there is looked for on the disk."""

_CHECKPOINT: Final = b"\x00checkpoint"  # shorter than the hash of an id
_POSITION: Final = struct.Struct("<QQI")  # next offset, timestamp and CRC of the record before it
_FORMAT: Final = 2
"""Of checkpoint and entries; in format 1 the checkpoint had no seal."""
_READABLE: Final = frozenset({UNSEALED, _FORMAT})

log = structlog.get_logger(__name__)


class StoreError(OperatorError):
    """The folder of the stores cannot be used."""


class DamagedStoreError(Exception):
    """A store was damaged. It is empty now, and must be filled from the log before it is used."""


def shared_cache() -> Cache:
    """Make the cache that the stores of a worker share."""
    return Cache(CACHE_BYTES)


class JoinStore:
    """Entries by the hash of their id.

    Parameters
    ----------
    path
        Its folder; made where it is not there.
    cache
        Shared with other stores.

    Attributes
    ----------
    position
        Offset up to which the log was taken in; 0 in a new store.

    Raises
    ------
    StoreError
        Here and in the methods: the folder cannot be made, read or written, as on a full disk. The worker must end.
    """

    def __init__(self, path: Path, cache: Cache) -> None:
        self._path = path
        self._cache = cache
        self._lent: tempfile.TemporaryDirectory[str] | None = None
        self._cursor: bytes | None = None
        self._open()

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"no folder for the join of outcomes: {error}; set DRIFTLINE_STATE_DIR") from None
        try:
            self._db = Rdict(str(self._path), self._options())
        except Exception as error:  # rocksdict raises nothing more special
            self._path = self._instead(error)
            try:
                self._db = Rdict(str(self._path), self._options())
            except Exception as again:
                raise StoreError(f"a store of the join cannot be opened: {again}; see DRIFTLINE_STATE_DIR") from again
        try:
            saved: bytes | None = self._db.get(_CHECKPOINT)
            self._checkpoint = (0, 0, 0) if saved is None else _read_checkpoint(saved)
        except Exception as error:
            self._begin_anew(error)

    def _instead(self, error: Exception) -> Path:
        """Choose another folder: another process holds this one, or it is damaged. All that is in it is in the log."""
        if "/LOCK" not in str(error):
            log.warning("a store of the join cannot be read and is built anew", path=str(self._path), why=str(error))
            shutil.rmtree(self._path, ignore_errors=True)
            return self._path
        log.warning("another process holds a store of the join: it is built anew in another folder",
                    path=str(self._path))  # fmt: skip
        self._lent = tempfile.TemporaryDirectory(prefix=f"{self._path.name}-", dir=self._path.parent)
        return Path(self._lent.name) / "store"

    def _options(self) -> Options:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_max_write_buffer_number(2)
        options.set_max_open_files(OPEN_FILES)
        options.set_compression_type(DBCompressionType.lz4())
        options.set_keep_log_file_num(2)
        blocks = BlockBasedOptions()
        blocks.set_block_cache(self._cache)
        blocks.set_cache_index_and_filter_blocks(True)
        blocks.set_bloom_filter(BLOOM_BITS, False)
        options.set_block_based_table_factory(blocks)
        return options

    @property
    def position(self) -> int:
        """Offset up to which the log was taken in; 0 in a new store."""
        return self._checkpoint[0]

    @property
    def seen_ms(self) -> int:
        """Timestamp of the last record taken in, milliseconds since 1970; 0 in a new store."""
        return self._checkpoint[1]

    def is_after(self, record: ConsumerRecord) -> bool:
        """Whether ``record`` is the last one that was taken in."""
        return self._checkpoint == _checkpoint_after(record)

    def get(self, ids: Sequence[bytes]) -> list[bytes | None]:
        """Entries of these ids, in their order."""
        with self._healing("read"):
            found: Any = self._db[list(ids)]
        return list(found)

    def write(self, entries: Mapping[bytes, bytes], last: ConsumerRecord) -> None:
        """Put entries, and note that the log was taken in up to ``last``; a store that is ahead stays so."""
        batch = WriteBatch(raw_mode=True)
        for key, value in entries.items():
            batch.put(key, value)
        checkpoint = max(self._checkpoint, _checkpoint_after(last))
        batch.put(_CHECKPOINT, seal(_POSITION.pack(*checkpoint), _FORMAT))
        with self._healing("written"):
            self._db.write(batch)
        self._checkpoint = checkpoint

    def some(self, count: int) -> list[tuple[bytes, bytes]]:
        """Walk on through the entries, by so many; an empty list ends a round, the next one begins anew."""
        found: list[tuple[bytes, bytes]] = []
        with self._healing("read"):
            walk: Iterable[tuple[Any, Any]] = self._db.items(from_key=self._cursor)
            for key, value in walk:
                if key in (self._cursor, _CHECKPOINT):
                    continue
                found.append((key, value))
                if len(found) == count:
                    break
        self._cursor = found[-1][0] if found else None
        return found

    def remove(self, ids: Iterable[bytes]) -> None:
        """Remove entries."""
        batch = WriteBatch(raw_mode=True)
        for key in ids:
            batch.delete(key)
        with self._healing("written"):
            self._db.write(batch)

    def clear(self) -> None:
        """Remove everything."""
        self._db.close()
        shutil.rmtree(self._path, ignore_errors=True)
        self._cursor = None
        self._open()

    def _begin_anew(self, error: Exception) -> None:
        log.warning("a store of the join cannot be read and is built anew", path=str(self._path), why=str(error))
        self.clear()

    @contextmanager
    def _healing(self, what: str) -> Iterator[None]:
        """Empty the store where RocksDB finds it damaged; any other error ends the worker, as of a full disk."""
        try:
            yield
        except Exception as error:
            if not str(error).startswith("Corruption"):
                raise StoreError(f"a store of the join cannot be {what}: {error}; see DRIFTLINE_STATE_DIR") from error
            self._begin_anew(error)
            raise DamagedStoreError(str(error)) from error

    def flush(self) -> None:
        """Bring everything from memory into files, and these into one level: to see how large they are."""
        self._db.flush()
        self._db.compact_range(None, None)

    def close(self) -> None:
        """Close the files."""
        self._db.close()
        if self._lent is not None:
            self._lent.cleanup()


def _read_checkpoint(saved: bytes) -> tuple[int, int, int]:
    body, written = unseal(saved, _FORMAT)
    if written not in _READABLE:
        raise StateError(f"its format is {written}")
    offset, stamp, checksum = _POSITION.unpack(body)
    return offset, stamp, checksum


def _checkpoint_after(record: ConsumerRecord) -> tuple[int, int, int]:
    return record.offset + 1, max(record.timestamp, 0), zlib.crc32(record.value or b"")
