"""All metrics of the worker, for Prometheus. The table is also their documentation.

The attribute of `Metrics` for a metric is its name without ``driftline_`` and ``_total``::

    metrics.records.labels(topic="driftline.predictions").inc(2_000)

Each worker has a `Metrics` of its own, made by whoever starts it and handed to whoever counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics import MetricWrapperBase

PREFIX: Final = "driftline_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of `Metrics.expose`."""

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)


class Kind(StrEnum):
    """How a metric behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric: its name as scraped, its kind, what it says, and its labels."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def attribute(self) -> str:
        """Name of its attribute of `Metrics`."""
        return self.name.removeprefix(PREFIX).removesuffix("_total")


_MODEL: Final = ("model", "version")

METRICS: Final = (
    # --- what comes in
    MetricSpec("driftline_records_total", Kind.COUNTER, "Records taken from an input topic, good or bad.", ("topic",)),
    MetricSpec("driftline_rows_total", Kind.COUNTER, "Rows counted for a registered version.", (*_MODEL, "topic")),
    MetricSpec(
        "driftline_dead_letters_total",
        Kind.COUNTER,
        "Records that could not be counted, by reason, and whether the letter was delivered, dropped (the topic "
        "refused it) or suppressed (too many a second).",
        ("reason", "outcome"),
    ),
    MetricSpec(
        "driftline_invalid_values_total",
        Kind.COUNTER,
        "Values that are not of their feature's type; their rows are counted, the values as invalid.",
        (*_MODEL, "feature"),
    ),
    MetricSpec(
        "driftline_schema_changes_total",
        Kind.COUNTER,
        "Changes of the features of a model's events: some gone, new, renamed or of another type; see the topic "
        "schema-changes.",
        _MODEL,
    ),
    MetricSpec(
        "driftline_unregistered_rows_total", Kind.COUNTER, "Rows of model versions that nobody registered.", _MODEL
    ),
    MetricSpec(
        "driftline_uncounted_offsets_total",
        Kind.COUNTER,
        "Offsets that retention removed before they could be counted: more than 0 means that history is missing.",
        ("topic", "partition"),
    ),
    MetricSpec(
        "driftline_damaged_records_total",
        Kind.COUNTER,
        "Saved records that were damaged, and refused: what they held is rebuilt, or named where it cannot be.",
        ("topic",),
    ),
    MetricSpec(
        "driftline_lag_records",
        Kind.GAUGE,
        "Records between what this worker has committed and the end of a partition that it owns.",
        ("topic", "partition"),
    ),
    # --- labels
    MetricSpec(
        "driftline_outcomes_total",
        Kind.COUNTER,
        "Labels that the join has decided on: matched, duplicate (known already), corrected (another had come first "
        "and counts), expired (after their prediction's time), unmatched (no prediction came). After a crash some "
        "are counted twice here; the statistics are not.",
        ("model", "fate"),
    ),
    MetricSpec(
        "driftline_outcomes_left_out_total",
        Kind.COUNTER,
        "Predictions and labels that were too large to be joined (64 KiB).",
    ),
    MetricSpec(
        "driftline_label_coverage",
        Kind.GAUGE,
        "Share of the predictions whose label is known. Shown by the worker that judges the model.",
        (*_MODEL, "stage"),
    ),
    MetricSpec(
        "driftline_label_lag_seconds",
        Kind.GAUGE,
        "Time from a prediction to its label that the share `quantile` of the labels does not exceed.",
        (*_MODEL, "stage", "quantile"),
    ),
    # --- what the worker knows of models
    MetricSpec("driftline_registry_models", Kind.GAUGE, "Model versions registered."),
    MetricSpec(
        "driftline_spec_conflicts_total", Kind.COUNTER, "Specs refused because their version has another one already."
    ),
    # --- counting and judging
    MetricSpec("driftline_publish_seconds", Kind.HISTOGRAM, "Time to publish changed totals, acknowledged."),
    MetricSpec(
        "driftline_ignored_totals_total",
        Kind.COUNTER,
        "Records of the profiles topic that could not be judged, by reason; the next total contains their rows.",
        ("reason",),
    ),
    MetricSpec(
        "driftline_steps_total",
        Kind.COUNTER,
        "Steps judged: each is one look at a few dozen rows or more.",
        (*_MODEL, "stage"),
    ),
    MetricSpec(
        "driftline_tier",
        Kind.GAUGE,
        "Tier of a signal: 0 none, 1 minor, 2 moderate, 3 significant. Shown by the worker that judges the model.",
        (*_MODEL, "stage", "signal"),
    ),
    MetricSpec("driftline_save_seconds", Kind.HISTOGRAM, "Time to save changed verdict states, acknowledged."),
    MetricSpec(
        "driftline_state_bytes", Kind.GAUGE, "Size of the saved verdict state of a version (limit 4 MiB).", _MODEL
    ),
    MetricSpec(
        "driftline_commit_failures_total",
        Kind.COUNTER,
        "Commits refused because a partition had moved; nothing is lost.",
    ),
    # --- what goes out
    MetricSpec("driftline_drift_events_total", Kind.COUNTER, "Drift events emitted.", (*_MODEL, "change", "tier")),
    MetricSpec(
        "driftline_alert_latency_seconds",
        Kind.HISTOGRAM,
        "From the append of the newest record judged to the acknowledgement of the drift event that it raised.",
    ),
    MetricSpec("driftline_retrain_requests_total", Kind.COUNTER, "Retrain requests emitted, repeats too.", ("model",)),
    MetricSpec(
        "driftline_retrain_suppressed_total",
        Kind.COUNTER,
        "Times that a retrain request had to wait, by reason: maintenance, blackout, running (another is on its way), "
        "cooldown, budget, labels (too few new ones).",
        ("model", "reason"),
    ),
    MetricSpec(
        "driftline_responses_total",
        Kind.COUNTER,
        "Responses begun and ended; retrain with unanswered, failed or expired wants a person.",
        ("model", "action", "status"),
    ),
    MetricSpec(
        "driftline_alerts_total",
        Kind.COUNTER,
        "Alerts emitted: incidents that somebody is to look at now, and their ends.",
        ("model", "change"),
    ),
    MetricSpec("driftline_digests_total", Kind.COUNTER, "Digests emitted: what was not worth an alert, by owner."),
    # --- the worker itself
    MetricSpec("driftline_build_info", Kind.GAUGE, "Always 1; the label says which release runs.", ("release",)),
)
"""Beside these stand the usual ``process_...`` metrics (memory, CPU time, open files)."""


class Metrics:
    """The metrics of one worker, in a registry of their own.

    Parameters
    ----------
    registry
        Where to register; a new one by default.
    """

    records: Counter
    rows: Counter
    dead_letters: Counter
    invalid_values: Counter
    schema_changes: Counter
    unregistered_rows: Counter
    uncounted_offsets: Counter
    damaged_records: Counter
    lag_records: Gauge
    outcomes: Counter
    outcomes_left_out: Counter
    label_coverage: Gauge
    label_lag_seconds: Gauge
    registry_models: Gauge
    spec_conflicts: Counter
    publish_seconds: Histogram
    ignored_totals: Counter
    steps: Counter
    tier: Gauge
    save_seconds: Histogram
    state_bytes: Gauge
    commit_failures: Counter
    drift_events: Counter
    alert_latency_seconds: Histogram
    retrain_requests: Counter
    retrain_suppressed: Counter
    responses: Counter
    alerts: Counter
    digests: Counter
    build_info: Gauge

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        for spec in METRICS:
            setattr(self, spec.attribute, _make(spec, self.registry))
        ProcessCollector(registry=self.registry)
        self.build_info.labels(release=release()).set(1)

    def expose(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def value(self, name: str, **labels: str) -> float:
        """Read one metric as a scrape would see it; 0 where nothing was counted yet."""
        return self.registry.get_sample_value(name, labels) or 0.0


def release() -> str:
    """Version of driftline as installed."""
    try:
        return version("driftline")
    except PackageNotFoundError:
        return "unknown"


def _make(spec: MetricSpec, registry: CollectorRegistry) -> MetricWrapperBase:
    if spec.kind is Kind.HISTOGRAM:
        return Histogram(spec.name, spec.help, spec.labels, buckets=_SECONDS, registry=registry)
    return _SIMPLE[spec.kind](spec.name, spec.help, spec.labels, registry=registry)


_SIMPLE: Final[dict[Kind, type[Counter] | type[Gauge]]] = {Kind.COUNTER: Counter, Kind.GAUGE: Gauge}
