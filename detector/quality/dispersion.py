"""How bursty bad rows are in a reference: rates move together, in blocks of rows, more than independent rows would.

As in `detector.dispersion`, but on counts of blocks, so that all rates of a layout are measured at once, however they
are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.dispersion import BLOCK_ROWS, MIN_BLOCKS
from detector.layout import Layout
from detector.quality.rates import BAD, RateReader
from detector.rows import Rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MERGE: Final = BLOCK_ROWS[1] // BLOCK_ROWS[0]
_AT_ONCE: Final = 256
"""Blocks whose vectors are in memory at a time."""


def rate_dispersion(layout: Layout, pieces: Sequence[Rows]) -> dict[str, float]:
    """Measure phi of each rate on the rows of a reference in their own order; those that are not bursty are left out.

    Neighbouring blocks are compared with each other, so that what changes slowly, as with the hour of the day, is no
    burst: phi is half the mean squared difference of their bad rows, less what is expected of their rows, over that of
    independent rows. It counts where it exceeds ``1 + 3 sqrt(3 / (M - 1))`` for M blocks.

    Parameters
    ----------
    pieces
        The rows of each stream.
    """
    if not layout.rates:
        return {}
    phi = np.ones(len(layout.rates))
    for piece in pieces:
        blocks = len(piece) // BLOCK_ROWS[0]
        if blocks >= MIN_BLOCKS:
            phi = np.maximum(phi, _phi(_by_block(layout, piece, blocks)))
    return {rate.signal: round(each, 4) for rate, each in zip(layout.rates, phi.tolist(), strict=True) if each > 1}


def _by_block(layout: Layout, piece: Rows, blocks: int) -> Ints:
    """Rows that are fine and bad in blocks of 16: (M, R, 2)."""
    reader, carry = RateReader(layout.rates), layout.begin()
    found = []
    for first in range(0, blocks, _AT_ONCE):
        last = min(first + _AT_ONCE, blocks)
        rows = piece.slice(first * BLOCK_ROWS[0], last * BLOCK_ROWS[0])
        group = np.repeat(np.arange(last - first), BLOCK_ROWS[0])
        found.append(reader.read(layout.count_groups(rows, group, carry)))
    return np.concatenate(found)


def _phi(counts: Ints) -> Floats:
    """Phi of each rate, at least 1, from counts (M, R, 2)."""
    bad, rows = counts[..., BAD].astype(np.float64), counts.sum(axis=-1).astype(np.float64)
    share = bad.sum(axis=0) / np.maximum(rows.sum(axis=0), 1.0)
    excess = bad - share * rows
    phi = np.ones(len(share))
    for size in BLOCK_ROWS:
        if size > BLOCK_ROWS[0]:
            excess, rows = (_merged(each) for each in (excess, rows))
        if len(excess) < MIN_BLOCKS:
            break
        usual = rows.mean(axis=0) * share * (1 - share)
        seen = (np.diff(excess, axis=0) ** 2).mean(axis=0) / 2
        ratio = np.divide(seen, usual, out=np.ones_like(seen), where=usual > 0)
        phi = np.where(ratio > 1 + 3 * np.sqrt(3 / (len(excess) - 1)), np.maximum(phi, ratio), phi)
    return phi


def _merged(blocks: Floats) -> Floats:
    whole = len(blocks) // _MERGE * _MERGE
    return np.asarray(blocks[:whole].reshape(-1, _MERGE, blocks.shape[1]).sum(axis=1))
