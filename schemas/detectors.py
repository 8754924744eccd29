"""Which of River's detectors speaks for a signal, with its own parameters: what a spec says under ``detectors``.

Parameters have River's names and River's defaults, which are written into the registered spec: a release of River with
other defaults changes no version that is registered. All of them are checked here, so that whoever reads a spec (the
command line, the registry, a subscriber with the JSON Schema) refuses the same ones. Their upper limits keep what a
detector must remember bounded (`detector.journal`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from schemas.base import Outbound

MOST_DETECTORS: Final = 50
"""Signals of a model that may have a detector of River's: each adds up to 16 KiB to the saved state."""
MOST_STEPS: Final = 1_024
"""Values that a detector of step means remembers at the least: nothing in it may wait for longer."""
MOST_ROWS: Final = 4_096
"""Likewise rows, for a detector of zeros and ones."""


class DetectorName(StrEnum):
    """Detectors of River that can be chosen, by the names of their modules."""

    ADWIN = "adwin"
    KSWIN = "kswin"
    PAGE_HINKLEY = "page_hinkley"
    DDM = "ddm"
    EDDM = "eddm"
    HDDM_A = "hddm_a"
    HDDM_W = "hddm_w"


class Parameters(Outbound):
    """Parameters of one detector: nothing is converted, ``"0.1"`` and ``true`` are no numbers."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]
WarmRows = Annotated[int, Field(ge=1, le=MOST_ROWS)]


class AdwinParameters(Parameters):
    """Of ``river.drift.ADWIN``; values are steps of a number, and rows of anything else."""

    delta: Share = 0.002
    """Significance of one comparison of two windows."""
    clock: Steps = 32
    """Values between two looks."""
    max_buckets: Annotated[int, Field(ge=2, le=100)] = 5
    min_window_length: Steps = 5
    grace_period: Steps = 10


class KswinParameters(Parameters):
    """Of ``river.drift.KSWIN``; its seed is fixed. Values are steps."""

    alpha: Share = 0.005
    """Significance of one Kolmogorov-Smirnov test."""
    window_size: Annotated[int, Field(ge=10, le=500)] = 100
    stat_size: Annotated[int, Field(ge=5, le=250)] = 30
    """Newest values, compared with as many drawn from the rest of the window."""

    @model_validator(mode="after")
    def _the_rest_of_the_window_is_large_enough(self) -> Self:
        if 2 * self.stat_size > self.window_size:
            raise ValueError(f"stat_size {self.stat_size} must be at most half of window_size {self.window_size}")
        return self


class PageHinkleyParameters(Parameters):
    """Of ``river.drift.PageHinkley``; values are steps of a number, and rows of anything else."""

    min_instances: Steps = 30
    delta: Annotated[float, Field(ge=0.0)] = 0.005
    """Change of the mean that is allowed, in the unit of the values."""
    threshold: Positive = 50.0
    """Sum of deviations that is an alarm, in the unit of the values."""
    alpha: Annotated[float, Field(gt=0.0, le=1.0)] = 1 - 0.0001
    """What is left of a sum after each value."""
    mode: Literal["up", "down", "both"] = "both"


class DdmParameters(Parameters):
    """Of ``river.drift.binary.DDM``; values are rows."""

    warm_start: WarmRows = 30
    warning_threshold: Positive = 2.0
    """Of River's warnings, which are not told."""
    drift_threshold: Positive = 3.0
    """Standard deviations above the lowest rate."""


class EddmParameters(Parameters):
    """Of ``river.drift.binary.EDDM``; values are rows."""

    warm_start: WarmRows = 30
    alpha: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    """Of River's warnings, which are not told."""
    beta: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Share of the longest distance between ones, below which there is an alarm."""

    @model_validator(mode="after")
    def _a_warning_comes_before_an_alarm(self) -> Self:
        if self.alpha < self.beta:
            raise ValueError(f"alpha {self.alpha:g} (of warnings) must be at least beta {self.beta:g} (of alarms)")
        return self


class HddmAParameters(Parameters):
    """Of ``river.drift.binary.HDDM_A``; values are rows."""

    drift_confidence: Share = 0.001
    warning_confidence: Share = 0.005
    """Of River's warnings, which are not told."""
    two_sided_test: bool = False
    """Whether fewer ones are an alarm too."""


class HddmWParameters(Parameters):
    """Of ``river.drift.binary.HDDM_W``; values are rows."""

    drift_confidence: Share = 0.001
    warning_confidence: Share = 0.005
    """Of River's warnings, which are not told."""
    lambda_val: Share = 0.05
    """Weight of the newest row."""
    two_sided_test: bool = False
    """Whether fewer ones are an alarm too."""


class AdwinSpec(Outbound):
    """Adaptive windowing (Bifet and Gavalda 2007)."""

    name: Literal[DetectorName.ADWIN]
    parameters: AdwinParameters = AdwinParameters()


class KswinSpec(Outbound):
    """Kolmogorov-Smirnov windowing (Raab, Heusinger and Schleif 2020)."""

    name: Literal[DetectorName.KSWIN]
    parameters: KswinParameters = KswinParameters()


class PageHinkleySpec(Outbound):
    """Cumulative sums of deviations from the mean so far (Page 1954)."""

    name: Literal[DetectorName.PAGE_HINKLEY]
    parameters: PageHinkleyParameters = PageHinkleyParameters()


class DdmSpec(Outbound):
    """A rate against its lowest so far (Gama et al. 2004)."""

    name: Literal[DetectorName.DDM]
    parameters: DdmParameters = DdmParameters()


class EddmSpec(Outbound):
    """Distances between ones (Baena-Garcia et al. 2006)."""

    name: Literal[DetectorName.EDDM]
    parameters: EddmParameters = EddmParameters()


class HddmASpec(Outbound):
    """Averages under Hoeffding's bound (Frias-Blanco et al. 2015)."""

    name: Literal[DetectorName.HDDM_A]
    parameters: HddmAParameters = HddmAParameters()


class HddmWSpec(Outbound):
    """Weighted averages under McDiarmid's bound (Frias-Blanco et al. 2015)."""

    name: Literal[DetectorName.HDDM_W]
    parameters: HddmWParameters = HddmWParameters()


DetectorSpec = Annotated[
    AdwinSpec | KswinSpec | PageHinkleySpec | DdmSpec | EddmSpec | HddmASpec | HddmWSpec,
    Field(discriminator="name"),
]
"""A detector by its name, and its parameters."""

ZEROS_AND_ONES: Final = frozenset({DetectorName.DDM, DetectorName.EDDM, DetectorName.HDDM_A, DetectorName.HDDM_W})
"""Detectors that read rows of zeros and ones: for signals that are no numbers."""
