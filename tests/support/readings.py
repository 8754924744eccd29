"""Readings and marks made by hand, for the rules that turn them into tiers and incidents."""

from __future__ import annotations

import numpy as np

from detector.onsets import Mark
from detector.readings import SignalReading
from schemas.model_spec import OffsetRange


def reading(
    score: float, evidence: float, *, quiet: float | None = None, name: str = "feature:x", not_judged: str | None = None
) -> SignalReading:
    """Make a reading with the same evidence against every tier's null."""
    counts = np.array([10.0, 10.0])
    lately = score if quiet is None else quiet
    return SignalReading(name, score, lately, (evidence,) * 3, 20.0, 128, counts, counts, not_judged)


def mark(offset: int, time: float | None = None, partition: int = 0) -> Mark:
    """Make a mark in one partition that was read from its beginning."""
    where = OffsetRange(topic="predictions", partition=partition, from_offset=0, to_offset=offset)
    return Mark(time, (where,))
