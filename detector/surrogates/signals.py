"""The signals of surrogate models, beside those of the evidence engine: what the monitor keeps of them.

Their readings stand behind the engine's in the same order always, so that tiers, incidents, onsets and status treat
them alike. Rows are learned as they come with a pane; evidence moves when the monitor's step ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.explain import kind_of, next_tier
from detector.incidents import Member
from detector.layout import Layout
from detector.readings import SignalBaseline, SignalReading
from detector.reference_rows import tabulate
from detector.rows import signal_types
from detector.sampling import columns_of_sample
from detector.surrogates.basis import Basis
from detector.surrogates.challenger import Challenger
from detector.surrogates.diagnosis import diagnose
from detector.surrogates.domain import Domain
from detector.surrogates.mimic import Mimic
from detector.surrogates.surrogate import Spoken, Surrogate, speak
from schemas.model_spec import CONCEPT, MIMIC, MULTIVARIATE, FeatureType, ModelSpec, Stage
from schemas.outbound import Diagnosis, SignalVerdict
from schemas.profiles import SampledRows

Floats = NDArray[np.float64]


class SurrogateSignals:
    """The surrogates that a spec asks for; most specs ask for none.

    Parameters
    ----------
    spec
        With a frozen reference.
    layout
        Of that spec.
    """

    def __init__(self, spec: ModelSpec, layout: Layout) -> None:
        self._spec, self._layout = spec, layout
        basis = Basis(spec, layout) if spec.surrogate_signals else None
        self._surrogates: Sequence[Surrogate] = (
            () if basis is None else [SURROGATES[name](spec, layout, basis) for name in spec.surrogate_signals]
        )
        self._in_step = False
        self._readings: Sequence[SignalReading] = self._read(in_step=False)

    def __len__(self) -> int:
        """How many signals there are."""
        return len(self._surrogates)

    @property
    def baselines(self) -> list[SignalBaseline]:
        """What tiers need to know of each signal: it has no bins."""
        return [SignalBaseline(each.signal, {}, False, 1.0, True, each.thresholds) for each in self._surrogates]

    @property
    def readings(self) -> Sequence[SignalReading]:
        """Of the last step."""
        return self._readings

    def take(self, table: Floats, carried: NDArray[np.bool_]) -> None:
        """Let all of them learn from sampled rows: a table (n, S), and which signals these rows carry, (S,)."""
        for each in self._surrogates:
            each.take(table, carried)

    def step(self, *, inputs_drift: bool) -> Sequence[SignalReading]:
        """End a step: move the evidence by what was foretold since the last one.

        ``inputs_drift`` says whether a feature has a tier by itself.
        """
        in_step = [each.means.step() for each in self._surrogates]
        for each in self._surrogates:
            each.weigh(inputs_drift=inputs_drift)
        pairs = zip(self._surrogates, in_step, strict=True)
        self._readings = [speak(each, in_step=has_rows).reading for each, has_rows in pairs]
        return self._readings

    def evidence(self) -> list[tuple[float, float, float]]:
        """Evidence of each signal as it stands now, in nats."""
        return [reading.evidence for reading in self._read(in_step=False)]

    def reset(self, index: int, *, above: int = 0) -> None:
        """Forget a signal's evidence, that of the tiers from ``above`` on."""
        self._surrogates[index].means.reset(above=above)

    def verdict(self, index: int, member: Member, *, threshold: float) -> SignalVerdict:
        """Say what a signal of an incident means."""
        surrogate, spoken = self._surrogates[index], self._spoken(index)
        reading = spoken.reading
        low, high = spoken.interval
        return SignalVerdict(
            signal=member.name,
            kind=kind_of(member.name),
            tier=member.tier,
            score=round(member.score, 6),
            score_name=surrogate.score_name,
            score_interval=(round(low, 6), round(high, 6)),
            evidence=round(member.evidence, 3),
            threshold=round(threshold, 3),
            next_tier=next_tier(member.tier, reading, self.baselines[index], threshold),
            rows=round(reading.rows, 1),
            importance=member.importance,
            expected_mean=round(spoken.expected, 6),
            actual_mean=round(spoken.actual, 6),
            model=spoken.speaker,
        )

    def diagnosis(self, verdicts: Sequence[SignalVerdict], readings: Sequence[SignalReading]) -> Diagnosis | None:
        """Say which drift an incident is; None where the spec has no surrogates."""
        by_name = {each.signal: each for each in self._surrogates}
        if not by_name:
            return None
        return diagnose(self._spec, self._layout, verdicts, readings, by_name)

    def _spoken(self, index: int) -> Spoken:
        return speak(self._surrogates[index], in_step=True)

    def _read(self, *, in_step: bool) -> Sequence[SignalReading]:
        return [speak(each, in_step=in_step).reading for each in self._surrogates]

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, by signal."""
        return {each.signal: each.state() for each in self._surrogates}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state of the same spec, to the last bit.

        Raises
        ------
        ValueError
            If the state is of other surrogates.
        """
        if set(state) != {each.signal for each in self._surrogates}:
            raise ValueError("saved surrogates do not fit the spec: they are others")
        for each in self._surrogates:
            each.restore(state[each.signal])
        self._readings = self._read(in_step=False)


def tables_by_stage(
    layout: Layout, sample: SampledRows, from_offset: int
) -> dict[Stage, tuple[Floats, NDArray[np.bool_]]]:
    """Read sampled rows from an offset on as a table and what it carries, by stage.

    Raises
    ------
    ValueError
        If the sample's columns do not belong together.
    """
    numbers = [kind is FeatureType.NUMBER for kind in signal_types(layout.spec)]
    columns = columns_of_sample(sample, layout.signals, numbers)
    table = tabulate(layout, columns, len(sample.offsets))
    carried = np.array([column is not None for column in columns])
    fresh = np.array(sample.offsets) >= from_offset
    stages = np.array(sample.stages)
    return {
        stage: (table[fresh & (stages == stage)], carried)
        for stage in sorted(set(sample.stages))
        if (fresh & (stages == stage)).any()
    }


SURROGATES: Final[dict[str, Callable[[ModelSpec, Layout, Basis], Surrogate]]] = {
    CONCEPT: Challenger,
    MULTIVARIATE: Domain,
    MIMIC: Mimic,
}
"""To add one: a file beside this one, a row here, a switch in ``schemas.model_spec.SurrogateSpec``."""
