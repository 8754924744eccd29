"""How far the versions of a model have come in production, and what is new since retraining was asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.model_spec import OffsetRange, Stage
from schemas.responses import VersionProgress

KEPT_VERSIONS: Final = 16
"""Of a model, those that moved last."""


@dataclass(slots=True)
class Version:
    """A version that has answered in production. Times are event times, in seconds since 1970."""

    progress: VersionProgress
    since: float
    """When it was first seen, or retraining was last asked for: its age counts from here."""
    labels_then: int = 0
    """Rows with labels at that time."""
    offsets_then: tuple[OffsetRange, ...] = ()

    @property
    def fresh_labels(self) -> int | None:
        """Rows with labels since then; None where none are read."""
        return None if self.progress.labels is None else max(0, self.progress.labels - self.labels_then)

    @property
    def fresh_offsets(self) -> tuple[OffsetRange, ...]:
        """Rows since then, by partition; all where a partition holds no earlier ones."""
        reached = {(then.topic, then.partition): then.to_offset for then in self.offsets_then}
        return tuple(
            now.model_copy(update={"from_offset": min(max(now.from_offset, before), now.to_offset)})
            for now in self.progress.offsets
            for before in [reached.get((now.topic, now.partition), now.from_offset)]
        )

    def start_afresh(self, now: float) -> None:
        """Retraining is asked for: what comes from here on is new."""
        self.since, self.offsets_then = now, self.progress.offsets
        self.labels_then = self.progress.labels or 0


class Versions:
    """The versions of one model, the one that moved last at the end."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Version] = OrderedDict()

    @property
    def current(self) -> Version | None:
        """The version that answers in production now: the one whose rows grew last."""
        return next(reversed(self._known.values()), None)

    def find(self, version: str) -> Version | None:
        """The version of that name."""
        return self._known.get(version)

    def take(self, progress: VersionProgress) -> None:
        """Take note of how far a version has come; other stages than production, and what is late, say nothing."""
        if progress.stage is not Stage.PRODUCTION or progress.time is None:
            return
        known = self._known.get(progress.version)
        if known is None:
            self._known[progress.version] = Version(progress, progress.time.timestamp())
        elif known.progress.spec_hash == progress.spec_hash and progress.rows < known.progress.rows:
            return
        else:
            moved = progress.rows != known.progress.rows
            known.progress = progress
            if moved:
                self._known.move_to_end(progress.version)
        while len(self._known) > KEPT_VERSIONS:
            self._known.popitem(last=False)

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes: plain values."""
        return {
            "known": [
                {
                    "progress": each.progress.model_dump(mode="json"),
                    "since": each.since,
                    "labels_then": each.labels_then,
                    "offsets_then": [rows.model_dump() for rows in each.offsets_then],
                }
                for each in self._known.values()
            ]
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self._known = OrderedDict()
        for each in state["known"]:
            progress = VersionProgress.model_validate(each["progress"])
            then = tuple(OffsetRange(**rows) for rows in each["offsets_then"])
            self._known[progress.version] = Version(progress, each["since"], each["labels_then"], then)
