"""River's detectors: how each is made, what it is fed and how much it remembers.

River sees one value at a time and keeps its own state; here it is bounded and can be saved (`detector.journal`). Its
package is imported when a spec chooses the first detector: it takes two seconds and 130 MB, which nobody else pays.
Parameters were checked with the spec (`schemas.detectors`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, cast

from detector.feeds import Feed, SpreadOnes, StepMeans, Vectors, means_or_ones
from detector.journal import Detector, JournaledDetector
from detector.layout import Layout
from schemas.detectors import MOST_ROWS, MOST_STEPS, DetectorName, DetectorSpec, KswinSpec


@dataclass(frozen=True, slots=True)
class Registered:
    """One of River's detectors."""

    kind: str
    """Name of its class."""
    feed: Callable[[Layout, int, Vectors], Feed]
    memory: int
    """Values that it remembers at the least, W; at the most, all but one of 2W."""
    module: str = "river.drift"
    fixed: dict[str, Any] = field(default_factory=dict)
    """Parameters that are not the user's."""

    def make(self, parameters: dict[str, Any]) -> Detector:
        """Make a new one."""
        return cast(Detector, getattr(import_module(self.module), self.kind)(**parameters, **self.fixed))


def make_detector(spec: DetectorSpec, feed: Feed | None = None) -> JournaledDetector:
    """Make the detector that a spec chooses; told rows, it remembers as many values as detectors of rows do."""
    registered, parameters = DETECTORS[spec.name], spec.parameters.model_dump()
    # KSWIN knows nothing beyond its window, and a test takes it half a millisecond: a restart should not repeat many.
    memory = spec.parameters.window_size if isinstance(spec, KswinSpec) else registered.memory
    if isinstance(feed, SpreadOnes):
        memory = MOST_ROWS
    return JournaledDetector(lambda: registered.make(parameters), memory)


_BINARY: Final = "river.drift.binary"

DETECTORS: Final[dict[DetectorName, Registered]] = {
    DetectorName.ADWIN: Registered("ADWIN", means_or_ones, MOST_STEPS),
    DetectorName.KSWIN: Registered("KSWIN", StepMeans, MOST_STEPS, fixed={"seed": 1}),
    DetectorName.PAGE_HINKLEY: Registered("PageHinkley", means_or_ones, MOST_STEPS),
    DetectorName.DDM: Registered("DDM", SpreadOnes, MOST_ROWS, _BINARY),
    DetectorName.EDDM: Registered("EDDM", SpreadOnes, MOST_ROWS, _BINARY),
    DetectorName.HDDM_A: Registered("HDDMA", SpreadOnes, MOST_ROWS, _BINARY),
    DetectorName.HDDM_W: Registered("HDDMW", SpreadOnes, MOST_ROWS, _BINARY),
}
"""To add one of River's: a row here, its parameters and its name in ``schemas.detectors``. The suite in
``tests/contract/test_river_detectors.py`` then runs over it."""
