"""What people and pipelines subscribe to: drift events, model status, dead letters (``responses.py`` has what follows).

Bodies are flat JSON with stable paths. Delivery is at least once; ``id`` is derived from the content, so that a repeat
is recognised by it, and ``dedup_key`` groups what belongs to one incident.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field

from schemas.base import Outbound
from schemas.detectors import DetectorName
from schemas.lineage import StepEvidence
from schemas.model_spec import OffsetRange, Stage
from schemas.performance import Metric
from schemas.tiers import Family as Family  # noqa: PLC0414 - part of the events: importable from here too
from schemas.tiers import Response as Response  # noqa: PLC0414
from schemas.tiers import Tier as Tier  # noqa: PLC0414

BEYOND_LIMIT = "beyond_limit"
"""The score of a limit: how far the metric is beyond it."""


class Severity(StrEnum):
    """The tier in the words of paging systems."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Change(StrEnum):
    """What happened to the incident."""

    OPENED = "opened"
    ESCALATED = "escalated"
    UPDATED = "updated"
    """Another signal joined, the tier is the same."""
    EASED = "eased"
    RESOLVED = "resolved"
    REOPENED = "reopened"
    """It is back within the time that the policy gives, under the same id."""


class IncidentStatus(StrEnum):
    """Whether the incident is still on."""

    FIRING = "firing"
    RESOLVED = "resolved"


class DriftKind(StrEnum):
    """Which of the three drifts a signal shows, or that it shows none of them but a fault."""

    DATA = "data"
    PREDICTION = "prediction"
    PERFORMANCE = "performance"
    CONCEPT = "concept"
    QUALITY = "quality"
    """No drift: the data is at fault."""
    SERVICE = "service"
    """No drift: the service is."""


class BinChange(Outbound):
    """A bin whose share changed."""

    bin: str
    """``[1.5, 2.0)``, ``missing``, a category."""
    expected: float
    """Share in the reference, 0 to 1."""
    actual: float
    """Share in the rows judged, 0 to 1."""


class NextTier(Outbound):
    """What would have to change for the next tier up."""

    tier: Tier
    score: float
    """Score that it needs."""
    evidence: float
    """Evidence that there is against its null, in nats; the signal's ``threshold`` is needed."""
    lacks: tuple[Literal["score", "evidence"], ...]
    """Which of the two keys is missing."""


class RecordAddress(Outbound):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


class SignalVerdict(Outbound):
    """One signal of an incident: how large its change is, how sure, and where."""

    signal: str
    segment: str | None = None
    """Where the change is in one segment and hidden in the whole, as in ``country=DE``."""
    kind: DriftKind
    tier: Tier
    score: float
    """Effect size in ``score_name``'s unit, small-sample bias removed."""
    score_name: str = "psi"
    """``psi``; of a rate or a loss ``increase``, or ``relative_increase`` in units of the reference's mean; of a limit
    ``beyond_limit``, in the metric's unit. Of ``concept``: by how much challengers gained on the model, in the loss's
    unit; of ``mimic``: by how much more often (or further) it was wrong about the model; of ``multivariate``
    ``auc_excess``: the domain classifier's AUC less 0.5."""
    score_interval: tuple[float, float] | None = None
    """Confidence interval of the score, about 95 %, for this one look."""
    evidence: float
    """e-value against the tier's own null, natural logarithm (nats)."""
    threshold: float
    """Evidence needed under the model's false-alarm budget, in nats."""
    next_tier: NextTier | None = None
    """Null at the highest tier."""
    rows: float
    """Effective number of rows behind the score."""
    importance: float = 1.0
    distances: dict[str, float] = Field(default_factory=dict)
    """Other distances between the same rows and the reference: js, hellinger, wasserstein, ks, chi_square."""
    expected_mean: float | None = None
    actual_mean: float | None = None
    bins: tuple[BinChange, ...] = ()
    """The bins that changed most, largest contribution first."""
    blind_to: tuple[DriftKind, ...] = ()
    """Drifts that the signal cannot see: an estimate of performance does not see concept drift."""
    model: str | None = None
    """Of ``concept``, ``multivariate`` and ``mimic``: the surrogate model that speaks."""
    detector: DetectorName | None = None
    """The detector of River's that speaks for the signal, where the spec chose one: ``evidence`` is then ``threshold``
    while its alarm counts and 0 otherwise, and no false-alarm budget is kept."""
    examples: tuple[RecordAddress, ...] = ()
    """Of a rule: some of the last records that broke it."""

    @property
    def name(self) -> str:
        """What it is called among all signals of the model: that of a segment has the segment's name too."""
        return self.signal if self.segment is None else f"{self.signal} in {self.segment}"


class FeatureRank(Outbound):
    """How much of an incident a feature explains."""

    feature: str
    score: float
    """PSI of the feature by itself."""
    importance: float
    """From the spec; where it gives none, how much the surrogate models use the feature (1 on average)."""


class LossCheck(Outbound):
    """What the loss of recent labelled rows is made of, in the loss's own unit."""

    reference: float
    """Mean loss in the reference."""
    realised: float
    """Mean loss of recent rows."""
    expected: float
    """Mean loss that the reference's rows foretell for the features of the recent ones: it changes with the features
    alone."""
    explained: float | None
    """Share of the rise that the features explain, 0 to 1; null where there is no rise to explain."""
    rows: float
    """Effective number of recent rows."""


class ReverseCheck(Outbound):
    """Models judged on the reference's rows, whose features are what they were: only the concept can have changed."""

    reference: float
    """Mean loss there of a model trained on the reference's labels."""
    recent: float
    """Mean loss there of the same model trained on recent labels."""


class SegmentChange(Outbound):
    """What a segment has to do with the change of a signal."""

    segment: str
    """As in ``country=DE``."""
    expected_share: float
    """Of the rows, in the reference."""
    actual_share: float
    """Of recent rows."""
    within: float
    """Share of the signal's change that happened within the segment; it can be negative."""


class MixCheck(Outbound):
    """How much of the change of a signal comes from other shares of segments, and how much happened within them."""

    signal: str
    field: str
    """By which field, or pair of them, rows are taken apart here: the one whose mix explains most."""
    change: float
    """The change that is taken apart, in the unit of the signal's score, small-sample bias not removed."""
    explained: float | None
    """Share of the change that the mix explains, 0 to 1; null where there is none to explain."""
    segments: tuple[SegmentChange, ...] = ()
    """Those that have most to do with it, at most five."""


class Diagnosis(Outbound):
    """Which drift it is, as far as surrogate models and segments can tell."""

    drifts: tuple[DriftKind, ...]
    """Kinds of the signals that have a tier."""
    explanation: str
    """One sentence for people."""
    loss: LossCheck | None = None
    reverse: ReverseCheck | None = None
    features: tuple[FeatureRank, ...] = ()
    """Largest score x importance first, at most ten."""
    told_apart_by: tuple[str, ...] = ()
    """Features, and pairs of them, by which recent rows are told from the reference: most telling first."""
    mix: tuple[MixCheck, ...] = ()
    """Where rows are broken down: the changes of the incident's signals, taken apart."""


class Pane(Outbound):
    """The rows of one source partition between two running totals."""

    topic: str
    partition: int
    from_offset: int
    to_offset: int
    """Exclusive."""
    rows: int


class Step(Outbound):
    """Rows judged together: where the step was cut in each partition, so that a replay cuts there too."""

    number: int
    """Since the version was first judged, from 1."""
    rows: int
    until: AwareDatetime | None = None
    panes: tuple[Pane, ...]


class Lineage(Outbound):
    """What the decision can be recomputed from."""

    spec_hash: str
    driftline: str
    """Version of the software that decided."""
    offsets: tuple[OffsetRange, ...]
    """All rows folded in so far, by partition: from the start of the totals to the last step."""
    steps: tuple[Step, ...]
    """The last steps, newest last (bounded)."""
    reference_hash: str | None = None
    """SHA-256 of the reference that was compared with; events of 0.1.0 have none."""
    evidence: tuple[StepEvidence, ...] = ()
    """What the last of the steps did to the evidence of the incident's signals, in their order."""
    seeds: dict[str, int] = Field(default_factory=dict)
    """Seeds of random generators, by what draws. Rows for surrogate models are drawn by a hash of topic, partition and
    offset, which needs none."""


class DriftEvent(Outbound):
    """The opening, change or end of an incident."""

    id: str
    change: Change
    status: IncidentStatus
    severity: Severity
    model: str
    version: str
    stage: Stage = Stage.PRODUCTION
    family: Family = Family.DRIFT
    owner: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    """For routing, from the spec's policy."""
    runbook: str | None = None
    """Likewise: a link for whoever looks."""
    incident_id: str
    dedup_key: str
    """The incident's id: pass it to paging systems."""
    tier: Tier
    previous_tier: Tier
    response: Response
    summary: str
    """One sentence for people."""
    time: AwareDatetime | None
    """Event time of the newest row judged; null only in a backtest of a file without times."""
    opened_at: AwareDatetime | None
    since: AwareDatetime | None = None
    """Estimated onset of the change, by event time."""
    since_offsets: tuple[OffsetRange, ...] = ()
    """The rows since the estimated onset."""
    resolved_at: AwareDatetime | None = None
    signals: tuple[SignalVerdict, ...]
    """The signals of the incident, by tier, then score x importance; those that went quiet have tier none."""
    signals_watched: int
    performance: tuple[MetricStatus, ...] = ()
    """Metrics of the model, where a signal of performance is part of the incident."""
    diagnosis: Diagnosis | None = None
    """Where the spec has surrogates or segments."""
    surely_drifted: tuple[str, ...] = ()
    """Signals whose change is sure when all are looked at together, most evidence first: the k with the most evidence
    need the threshold less log k (e-BH), so that one which misses it alone may stand here beside others."""
    lineage: Lineage
    row: int | None = None
    """In a backtest: index of the last data row consumed when the event was raised."""


class Urgency(StrEnum):
    """How soon retraining is wanted."""

    NORMAL = "normal"
    HIGH = "high"


class TrainingRange(Outbound):
    """The rows recommended for training."""

    since: AwareDatetime | None
    until: AwareDatetime | None
    offsets: tuple[OffsetRange, ...]


class ModelState(StrEnum):
    """What driftline does with a model version."""

    UNREGISTERED = "unregistered"
    COLLECTING = "collecting"
    """The reference is being collected from the stream."""
    WATCHING = "watching"


class SignalStatus(Outbound):
    """Where a signal stands."""

    signal: str
    segment: str | None = None
    """As in a signal of a drift event; null: of all rows."""
    tier: Tier
    score: float
    evidence: float
    threshold: float
    not_judged: str | None = None
    """Why the signal cannot be judged."""
    detector: DetectorName | None = None
    """As in a signal of a drift event."""

    @property
    def name(self) -> str:
        """What it is called among all signals of the model: that of a segment has the segment's name too."""
        return self.signal if self.segment is None else f"{self.signal} in {self.segment}"


class SegmentStatus(Outbound):
    """Where a segment stands."""

    segment: str
    """As in ``country=DE``."""
    expected_share: float
    """Of the rows, in the reference."""
    share: float
    """Of recent rows."""
    tier: Tier = Tier.NONE
    """The highest of its signals', whether the whole shows it too or not."""
    signals: int
    """How many it has."""
    judged: int
    """How many of them can be judged."""
    not_judged: str | None = None
    """Why others cannot."""


class MetricStatus(Outbound):
    """A metric of the model over recent rows, about 6,000 of them, half of their weight on the last 2,048."""

    metric: Metric
    value: float | None = None
    """Of predictions whose label has come; null while there are none."""
    interval: tuple[float, float] | None = None
    """95 % confidence interval of the value, for one look, wider where rows come in bursts."""
    rows: float = 0.0
    """Effective rows behind the value."""
    reference: float | None = None
    """Of the reference."""
    limit: float | None = None
    """The spec's absolute limit."""
    estimate: float | None = None
    """Expected of recent predictions, without their labels: it sees no concept drift."""
    estimate_interval: tuple[float, float] | None = None
    """In which their metric lies in 95 % of cases, if the concept has not changed."""
    correction: float | None = None
    """What labels that came taught the estimate, and is part of it: how far realised performance was from it, shrunken
    towards 0; null where the estimate is not corrected."""


class LabelStatus(Outbound):
    """What is known of a version's labels."""

    rows: int
    """Labels counted, each with its prediction."""
    coverage: float | None
    """Share of the predictions whose label is known by now."""
    lag_p50_s: float | None
    """Seconds from a prediction to its label that half of the labels do not exceed."""
    lag_p90_s: float | None
    lag_p99_s: float | None


class RuleStatus(Outbound):
    """What became of a rule, over all rows counted."""

    name: str
    expression: str
    broken: int
    """Rows that break it."""
    kept: int
    open: int
    """Rows of which nothing can be said: a value that it needs is missing or invalid."""
    examples: tuple[RecordAddress, ...] = ()
    """Some of the last records that broke it."""


class ServiceStatus(Outbound):
    """How the service answered recent requests, half of their weight on the last 2,048."""

    latency_p50_ms: float | None
    """Milliseconds that half of the answers did not exceed, to about 19 %; null where no latency came."""
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    errors: float | None
    """Share of the requests that ended with an error; null where no status came."""
    timeouts: float | None


class OpenIncident(Outbound):
    """An incident that is on."""

    family: Family
    id: str
    tier: Tier
    opened_at: AwareDatetime | None
    """Event time; null only in a backtest of a file without times."""


class ModelStatus(Outbound):
    """Where a model version stands in one stage; compacted by (model, version, stage)."""

    model: str
    version: str
    stage: Stage = Stage.PRODUCTION
    state: ModelState
    owner: str | None = None
    spec_hash: str | None = None
    rows: int
    """Judged, collected or, while unregistered, seen."""
    rows_wanted: int | None = None
    """While collecting: how many the reference needs."""
    steps: int = 0
    time: AwareDatetime | None
    """Event time of the newest row."""
    tier: Tier = Tier.NONE
    """The highest of the open incidents'."""
    incident_id: str | None = None
    """Of the incident with that tier."""
    incidents: tuple[OpenIncident, ...] = ()
    """All that are open, at most one of each family, worst first."""
    signals: tuple[SignalStatus, ...] = ()
    segments: tuple[SegmentStatus, ...] = ()
    labels: LabelStatus | None = None
    """None where no labels are read."""
    rules: tuple[RuleStatus, ...] = ()
    """In the order of the spec."""
    offsets: tuple[OffsetRange, ...] = ()
    uncounted: tuple[OffsetRange, ...] = ()
    """Offsets that retention removed before they could be counted."""
    invalid: dict[str, int] = Field(default_factory=dict)
    """Values not of their feature's type, by feature."""
    performance: tuple[MetricStatus, ...] = ()
    """Metrics, where labels are read: as they came true, and as they are expected."""
    service: ServiceStatus | None = None
    """Where the spec asks for it."""
    note: str | None = None
    """What a person should know, such as a refused second spec."""

    @property
    def id(self) -> str:
        """Its coordinates and how far it has come."""
        return f"{self.model}/{self.version}/{self.stage}/{self.state}/{self.steps}/{self.rows}"


class DeadLetterReason(StrEnum):
    """Why a record could not be counted."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    INVALID_JSON = "invalid_json"
    INVALID_EVENT = "invalid_event"
    INVALID_TIME = "invalid_time"
    INVALID_VALUE = "invalid_value"
    """Where the spec says that a row with such a value must go; of an event of many rows the others are counted."""
    UNKNOWN_STAGE = "unknown_stage"
    PROCESSING_ERROR = "processing_error"


class Origin(Outbound):
    """Where a record came from."""

    topic: str
    partition: int
    offset: int
    timestamp: AwareDatetime


class DeadLetter(Outbound):
    """A record that could not be counted, with its reason. Its id is made of its origin: a replay repeats it."""

    id: str
    reason: DeadLetterReason
    detail: str
    """One sentence: what is wrong and, where it helps, how to mend it."""
    origin: Origin
    time: AwareDatetime
    """The record's timestamp."""
    key_base64: str | None = None
    value_base64: str
    """The first 64 KiB of the value."""
    length: int
    """Of the whole value, in bytes."""
    sha256: str
    """Of the whole value, hexadecimal."""
    truncated: bool = False
