"""The loss to expect of a prediction whose label is not known yet (after NannyML's CBPE and DLE).

What the reference's labelled rows taught is kept by bins (`detector.calibration`), so that the expectation of a row is
a few look-ups: that of its prediction, and what the bins of some features add. Its mean over rows estimates their
performance while the labels are still to come. It sees a change of the features and of the predictions; a change of
what comes true for the same features (concept drift) it cannot see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from detector.bins import Binner
from detector.rows import Column
from detector.score_bins import score_bins
from schemas.model_spec import ModelSpec, Output, feature_signal
from schemas.performance import RATES, Calibration

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class ExpectedLoss:
    """Expected losses of rows, by the calibration of a spec's reference.

    Parameters
    ----------
    spec
        Whose reference has a calibration.
    binners
        Of its signals.

    Attributes
    ----------
    answer
        Index of the signal ``prediction``.
    features
        Indices of the features that are looked at: without one of them there is no expectation.

    Raises
    ------
    ValueError
        If the calibration is of other bins.
    """

    def __init__(self, spec: ModelSpec, calibration: Calibration, binners: Sequence[Binner]) -> None:
        names = [feature_signal(feature.name) for feature in spec.features]
        self.answer = len(names)
        self.is_score = spec.prediction is not None and spec.prediction.output is Output.SCORE
        self._largest = 1.0 if spec.loss in RATES else np.inf
        self._expected = np.array(calibration.expected)
        if not self.is_score:
            self._expected[-2:] = np.nan  # missing and invalid
        self._effects = {names.index(feature_signal(each)): np.array(v) for each, v in calibration.effects.items()}
        self.features = tuple(self._effects)
        known = {index: binners[index].width for index in self.features}
        if any(len(self._effects[index]) != width for index, width in known.items()):
            raise ValueError(f"the calibration of {spec.model} {spec.version} is of other bins")

    def of(self, prediction: Column, bins: Callable[[int], Ints], *, fine: Ints | None = None) -> Floats:
        """Return the expected loss of n rows; NaN where there is no prediction.

        Parameters
        ----------
        prediction
            (n,) what was predicted.
        bins
            Gives the bin (n,) of each row in a signal, by the signal's index.
        fine
            (n,) fine bins of the scores, where they are known already.
        """
        if self.is_score:
            places = score_bins(cast(Floats, prediction)) if fine is None else fine
            expected = np.where(places < 0, np.nan, self._expected[places])
        else:
            expected = self._expected[bins(self.answer)]
        for index, effect in self._effects.items():
            expected = expected + effect[bins(index)]
        return np.asarray(np.clip(expected, 0.0, self._largest))
