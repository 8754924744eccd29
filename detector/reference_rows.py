"""Raw rows as a table of numbers, and those of the reference, which travel in the spec.

A table has a line for each row and a column for each of ``spec.signals``: a number as it is, rounded to 32 bits so that
a row of the reference and a row of the stream with the same value are the same; of any other signal the number of its
bin. NaN is a number that is missing, and any signal that the rows do not carry.

A reference keeps at most `MOST_ROWS` rows and `MOST_CELLS` values: runs of `RUN` neighbours, spread evenly. Neighbours,
since in a stream that comes in bursts a model that has just learned a row's neighbour knows the row: where the
reference's rows stood further apart than those of the stream, that would look like a change.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from detector.bins import NumberBinner
from detector.layout import Layout
from detector.rows import Column, Rows, Source
from schemas.model_spec import ModelSpec, ReferenceRows

Floats = NDArray[np.float64]

MOST_ROWS: Final = 2_000
MOST_CELLS: Final = 100_000
"""Of all tables of a reference together."""
RUN: Final = 64
_BYTES: Final = 4
_LARGEST: Final = float(np.finfo(np.float32).max)


class ReferenceRowsError(ValueError):
    """The raw rows of a reference are damaged, or belong to other bins."""


def tabulate(layout: Layout, columns: Sequence[Column | None], rows: int) -> Floats:
    """Make a table of columns: (n, S)."""
    table = np.full((rows, len(layout.signals)), np.nan)
    for signal, (binner, column) in enumerate(zip(layout.binners, columns, strict=True)):
        if column is None:
            continue
        if isinstance(binner, NumberBinner):
            values = cast(Floats, column)
            finite = np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)
            table[:, signal] = np.where(np.isinf(values), np.inf, finite)
        else:
            table[:, signal] = binner.index(column)
    return table


def draw_reference(spec: ModelSpec, layout: Layout, pieces: Sequence[Rows]) -> tuple[ReferenceRows, ...] | None:
    """Draw the rows that a reference keeps: of those with features, and of the labelled ones whose features are known.

    None where the spec has no surrogates, which alone have a use for them.
    """
    if not spec.surrogate_signals:
        return None
    carriers = [piece for piece in pieces if piece.columns[0] is not None][:1]
    carriers += [piece for piece in pieces if piece.source is Source.OUTCOMES and piece.context is not None][:1]
    cells = MOST_CELLS // max(len(carriers), 1)
    return tuple(_encode(layout, piece, cells) for piece in carriers)


def _encode(layout: Layout, piece: Rows, cells: int) -> ReferenceRows:
    columns = piece.sampled_columns
    carried = [i for i, column in enumerate(columns) if column is not None]
    chosen = evenly(len(piece), min(MOST_ROWS, max(cells // len(carried), 1)))
    picked = [_pick(column, chosen) for column in columns]
    values = tabulate(layout, picked, len(chosen))[:, carried].astype(np.float32)
    raw = (
        np.ascontiguousarray(values.T).view(np.uint8).reshape(-1, _BYTES).T.tobytes()
    )  # bytes of equal weight together
    return ReferenceRows(
        signals=tuple(layout.signals[i] for i in carried),
        rows=len(chosen),
        run=min(RUN, len(chosen)) if len(chosen) < len(piece) else len(chosen),
        values=base64.b64encode(zlib.compress(raw, 9)).decode("ascii"),
    )


def evenly(rows: int, wanted: int) -> NDArray[np.int64]:
    """Choose ``wanted`` of so many rows: all, or runs of `RUN` neighbours spread evenly."""
    if rows <= wanted:
        return np.arange(rows)
    run = min(RUN, wanted)
    starts = np.linspace(0, rows - run, max(wanted // run, 1)).astype(np.int64)
    return np.asarray((starts[:, None] + np.arange(run)).ravel())


def _pick(column: Column | None, chosen: NDArray[np.int64]) -> Column | None:
    if column is None or isinstance(column, np.ndarray):
        return None if column is None else column[chosen]
    return [column[i] for i in chosen.tolist()]


def decode_reference(layout: Layout, sample: ReferenceRows) -> Floats:
    """Read rows of the reference as a table, (n, S); nothing of what is written is trusted.

    Raises
    ------
    ReferenceRowsError
        If it is damaged, too large, or does not belong to the spec's bins.
    """
    places = {signal: place for place, signal in enumerate(layout.signals)}
    if len(set(sample.signals)) < len(sample.signals) or not set(sample.signals) <= set(places):
        raise ReferenceRowsError("the reference's rows have signals that the model has not")
    cells = sample.rows * len(sample.signals)
    if not 0 < cells <= MOST_CELLS:
        raise ReferenceRowsError(f"the reference's rows hold {cells} values, at most {MOST_CELLS} can be")
    raw = _inflate(sample.values, cells * _BYTES)
    values = np.frombuffer(raw, np.uint8).reshape(_BYTES, cells).T.copy().view(np.float32)
    table = np.full((sample.rows, len(layout.signals)), np.nan)
    for signal, column in zip(sample.signals, values.reshape(len(sample.signals), sample.rows), strict=True):
        place = places[signal]
        binner = layout.binners[place]
        if not isinstance(binner, NumberBinner):
            codes = np.arange(binner.width)
            if not np.isin(column, codes).all():
                raise ReferenceRowsError(f"the reference's rows of {signal} are in bins that it has not")
        table[:, place] = column
    return table


def _inflate(text: str, size: int) -> bytes:
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(base64.b64decode(text, validate=True), size + 1)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ReferenceRowsError(f"the reference's rows cannot be read: {error}") from None
    if len(raw) != size:
        raise ReferenceRowsError("the reference's rows are not as many as they say")
    return raw
