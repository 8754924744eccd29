"""NannyML's estimates for ``bench.estimation``, in an environment of its own: prints them as JSON.

It imports nothing of driftline's, so that NannyML's requirements need not agree with ours::

    python3.11 -m venv .venv-nannyml
    .venv-nannyml/bin/pip install nannyml==0.13.1 statsmodels
"""

from __future__ import annotations

import json
import sys

import nannyml
import pandas as pd

METRICS = {"accuracy": "accuracy", "auc": "roc_auc", "f1": "f1"}


def main(reference: str, analysis: str, chunk_rows: str) -> None:
    """Estimate each chunk of the analysis, calibrated on the reference; car-loan column names."""
    estimator = nannyml.CBPE(
        problem_type="classification_binary",
        y_pred_proba="y_pred_proba",
        y_pred="y_pred",
        y_true="repaid",
        metrics=list(METRICS.values()),
        chunk_size=int(chunk_rows),
    )
    estimator.fit(pd.read_csv(reference))
    found = estimator.estimate(pd.read_csv(analysis)).filter(period="analysis").to_df()
    estimates = {name: found[(theirs, "value")].tolist() for name, theirs in METRICS.items()}
    print(json.dumps({"version": nannyml.__version__, "estimates": estimates}))


if __name__ == "__main__":
    main(*sys.argv[1:])
