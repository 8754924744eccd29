"""What a model is: its features, what is judged and how, who is told. One version of a model is immutable."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, Field, ValidationInfo, field_validator, model_validator

from schemas.base import Duration, FeatureName, Name, Outbound
from schemas.detectors import MOST_DETECTORS, ZEROS_AND_ONES, DetectorSpec
from schemas.performance import BASIC_LOSS, LOSSES_OF, METRICS_OF, RATES, Calibration, Loss, OutcomeSpec
from schemas.policy import LATER_RETRAINING, PolicySpec
from schemas.policy import RetrainingSpec as RetrainingSpec  # noqa: PLC0414 - part of the spec: importable from here too
from schemas.quality import Counted, NumberNorm, QualitySpec, ServiceSpec
from schemas.rules import MOST_RULES, CheckedRule, RuleSpec, checked_rules, fields_of
from schemas.segments import SegmentSpec, segment_signal

PREDICTION = "prediction"
"""The name of the signal that watches what the model answers."""

LABEL = "label"
"""The name of the signal that watches what came true."""

ESTIMATED_PERFORMANCE = "estimated_performance"
"""The name of the signal that watches the loss to expect while labels are still to come."""

CONCEPT: Final = "concept"
"""The name of the signal that compares the model with challengers on labelled rows."""

MULTIVARIATE: Final = "multivariate"
"""The name of the signal that tells recent rows from reference rows, all features together."""

MIMIC: Final = "mimic"
"""The name of the signal that foretells what the model answers."""

_LATER: Final = ("detectors", "outcomes", "surrogates", "segments", "quality", "service", "rules", "policy")
"""Fields that came after the first specs were registered: at their defaults they are no part of a spec's hash."""


USUAL_POLICY: Final = PolicySpec()

_LATER_FROZEN: Final = ("sample", "calibration", "segment_dispersion", "norms", "counted", "rules")
"""Likewise fields of a frozen reference, where they are None."""

_LATER_FEATURE: Final = ("unit", "required", "minimum", "maximum", "max_length", "categories", "on_invalid")
"""Likewise fields of a feature."""

_LATER_OUTCOMES: Final = ("wait", "sample", "features")
"""Likewise fields of the outcomes, at their defaults."""


def performance_signal(loss: Loss) -> str:
    """Name the signal that watches a loss."""
    return f"performance:{loss}"


def feature_signal(name: str) -> str:
    """Name the signal that watches the feature ``name``."""
    return f"feature:{name}"


class Task(StrEnum):
    """What the model predicts."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class Stage(StrEnum):
    """The role in which a version made a prediction."""

    PRODUCTION = "production"
    SHADOW = "shadow"
    CANARY = "canary"


class FeatureType(StrEnum):
    """How the values of a feature are binned."""

    NUMBER = "number"
    CATEGORY = "category"
    BOOLEAN = "boolean"


class FeaturesFrom(StrEnum):
    """Which stream a model's features are judged on, so that features that come in both are not counted twice."""

    PREDICTIONS = "predictions"
    FEATURES = "features"


class Seasonality(StrEnum):
    """Which phases the reference has: none, the hour of the day, or the hour of the week."""

    NONE = "none"
    DAILY = "daily"
    WEEKLY = "weekly"


class OnInvalid(StrEnum):
    """What goes when a value is not valid: that value alone, or its whole row, as a dead letter."""

    VALUE = "value"
    ROW = "row"


class Output(StrEnum):
    """Which part of a prediction is watched: its class, its score (probability), or its number."""

    CLASS = "class"
    SCORE = "score"
    NUMBER = "number"


class FeatureSpec(Outbound):
    """One feature of the model."""

    name: FeatureName
    type: FeatureType
    bounds: tuple[float, float] | None = None
    """Sums clip values to these; None: 4,096 reference scales around the reference's median."""
    importance: float = Field(default=1.0, ge=0.0)
    """How much the model relies on the feature: ranks the features of an incident by score x importance."""
    unit: str | None = Field(default=None, max_length=60)
    """For people, such as ``km``."""
    required: bool = False
    """Whether a row needs a value: one that is missing is a fault of the row."""
    minimum: float | None = Field(default=None, allow_inf_nan=False)
    """A smaller number is invalid."""
    maximum: float | None = Field(default=None, allow_inf_nan=False)
    """A larger number is invalid."""
    max_length: int | None = Field(default=None, ge=1)
    """A category of more characters is invalid."""
    categories: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=10_000)
    """Every other category is invalid. None: any may come; new ones are ``unseen``."""
    on_invalid: OnInvalid = OnInvalid.VALUE
    """``row``: a row whose value is invalid, or missing though required, is not counted but becomes a dead letter."""

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds of feature {self.name!r} must be [low, high] with low < high")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum of feature {self.name!r} lies above its maximum")
        return self

    @model_validator(mode="after")
    def _constraints_fit_the_type(self) -> Self:
        of_type = {"minimum": "number", "maximum": "number", "max_length": "category", "categories": "category"}
        odd = [name for name, kind in of_type.items() if getattr(self, name) is not None and self.type != kind]
        if odd:
            raise ValueError(f"{', '.join(odd)} of feature {self.name!r}: a {self.type} has none")
        return self


class PredictionSpec(Outbound):
    """What the model answers, and which part of the answer is watched."""

    output: Output
    positive_class: str | None = None
    """For a binary task: the class whose probability is the score, used when events carry probabilities only."""


class SurrogateSpec(Outbound):
    """Simple models that learn beside the watched one, from a bounded sample of its rows, and warn early.

    What a model cannot have is left out: no ``concept`` without labels and predictions, no ``multivariate`` with fewer
    than two features or with a season (recent rows are of one hour, the reference's of all), no ``mimic`` of a model
    that keeps learning or whose features come in a stream of their own.
    """

    challenger: bool = True
    """Signal ``concept``: whether models trained on recent labels gain on this one."""
    domain_classifier: bool = True
    """Signal ``multivariate``: whether recent rows can be told from those of the reference."""
    mimic: bool = True
    """Signal ``mimic``: whether the model still answers what it would have answered."""
    sample_rows: int = Field(default=64, ge=16, le=512)
    """Rows drawn between two totals of a source partition, at the most."""


class FalseAlarmBudget(Outbound):
    """How many false alarms the model may raise in a period, all its signals together."""

    count: float = Field(default=1.0, gt=0.0)
    per: Duration = timedelta(days=30)


class StepSpec(Outbound):
    """When rows are judged: a step closes with enough rows, or at the longest wait, by event time."""

    min_rows: int = Field(default=32, ge=8)
    min_interval: Duration = timedelta(seconds=10)
    max_wait: Duration = timedelta(hours=1)


class TierSpec(Outbound):
    """Scores (PSI for distributions) from which a change counts as minor, moderate, significant."""

    minor: float = Field(default=0.1, gt=0.0)
    moderate: float = Field(default=0.2, gt=0.0)
    significant: float = Field(default=0.25, gt=0.0)
    quiet_steps: int = Field(default=8, ge=1)
    """Quiet steps before a tier goes down or an incident ends."""

    @model_validator(mode="after")
    def _tiers_are_ordered(self) -> Self:
        if not self.minor <= self.moderate <= self.significant:
            raise ValueError("tiers must be ordered: minor <= moderate <= significant")
        return self


class TimeSpec(Outbound):
    """Which event times are believed."""

    max_ahead: Duration = timedelta(hours=1)
    """Further ahead of the record's own timestamp, an event time is invalid and the event a dead letter."""
    max_behind: Duration | None = None
    """Further behind it likewise; None: any time since 1970 (replays and demos send the past)."""


class ColumnNames(Outbound):
    """The columns of a file for ``models init`` and ``backtest``; features are found under their own names."""

    time: str = "time"
    prediction: str = "prediction"
    score: str = "score"
    label: str = "label"
    label_time: str = "label_time"
    prediction_id: str = "prediction_id"
    version: str = "version"
    stage: str = "stage"


class NumberBins(Outbound):
    """Bins of a number, cut at quantiles of the reference; constant stretches keep their atoms as bins of their own.

    Bin i holds ``edges[i] <= x < edges[i + 1]``, the last one its upper edge too. Beside them stand, in this order:
    underflow, the bins, overflow, missing, invalid.
    """

    kind: Literal["number"] = "number"
    edges: tuple[float, ...] = Field(min_length=2)
    """Ascending, K + 1 of them for K bins."""
    means: tuple[float, ...]
    """Mean of the reference rows in each of the K bins: what stands for the bin in a Wasserstein distance."""
    center: float
    """Median of the reference."""
    scale: float = Field(gt=0.0)
    """Standard deviation of the reference (1 where it is constant): the unit of sums and of distances."""


class CategoryBins(Outbound):
    """Bins of a category: the values known from the reference, then other, unseen, missing, invalid."""

    kind: Literal["category"] = "category"
    categories: tuple[str, ...]
    """Known values that have a bin of their own, most frequent first."""
    other: tuple[str, ...] = ()
    """Known values that are too rare for a bin of their own; they share one."""
    singletons: int = Field(default=0, ge=0)
    """Values seen once in the reference: the Good-Turing expectation of what is unseen."""


Bins = Annotated[NumberBins | CategoryBins, Field(discriminator="kind")]


class ReferenceRows(Outbound):
    """Raw rows of the reference: runs of neighbours, spread evenly over it."""

    signals: tuple[str, ...]
    """Which are known of the rows, in the order of the columns."""
    rows: int = Field(ge=1)
    run: int = Field(ge=1)
    """Rows that stand together; where a run ends, the next row is further on in the reference."""
    values: str
    """As ``detector.reference_rows`` encodes them (base64 of deflated float32)."""


class OffsetRange(Outbound):
    """Records ``from_offset`` to ``to_offset`` (exclusive) of one partition."""

    topic: str
    partition: int = Field(ge=0)
    from_offset: int = Field(ge=0)
    to_offset: int = Field(ge=0)


class FrozenReference(Outbound):
    """The frozen baseline of a version: bins, counts and how bursty its rows were."""

    rows: int = Field(ge=1)
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    origin: str = ""
    """Where the rows came from: a file's name with its SHA-256, or ``stream``."""
    offsets: tuple[OffsetRange, ...] = ()
    """For a reference from the stream: the rows that are baseline; counting starts behind them."""
    declared: str | None = None
    """For a reference from the stream: the hash of the spec that asked for it."""
    bins: dict[str, Bins]
    """By signal name."""
    dispersion: dict[str, float] = Field(default_factory=dict)
    """By signal name: variance of block means over that of independent rows, at least 1."""
    segment_dispersion: dict[str, tuple[float, ...]] | None = None
    """By segment, as in ``country=DE``: the same of each signal judged in it. Null where nothing is broken down."""
    calibration: Calibration | None = None
    """What its labels tell of the loss to expect; null where it has none."""
    norms: dict[str, NumberNorm] | None = None
    """By the name of a number signal: what its checks go by. None: the spec asks for no such checks."""
    counted: Counted | None = None
    """What was counted beside bins. None: nothing."""
    profile: str
    """Counts by phase and by segment: a profile as ``detector.profile`` encodes it (base64 of deflated int64)."""
    rules: dict[str, str] | None = None
    """The rules whose violations are counted in the profile, in this order: expressions by name. A rule that is not
    among them is expected to be kept."""
    sample: tuple[ReferenceRows, ...] | None = None
    """Raw rows for the surrogates: those with features, and those with labels. None: the spec had no surrogates."""

    @property
    def hash(self) -> str:
        """SHA-256 of its canonical JSON: what events name as the reference that was compared with.

        What is null is left out, so that fields which come later change no hash.
        """
        dumped = self.model_dump(mode="json", exclude_none=True)
        content = json.dumps(dumped, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(content.encode()).hexdigest()


class ReferenceSpec(Outbound):
    """Where the reference comes from: frozen here, or the first ``rows`` rows of the stream."""

    rows: int = Field(default=2_000, ge=100, le=200_000)
    """Rows to collect from the stream (unused once ``frozen`` is there)."""
    frozen: FrozenReference | None = None


class ModelSpec(Outbound):
    """A model version: what it takes and answers, how it is judged, and the reference it is compared with.

    Keyed by (model, version, hash) on the ``models`` topic. The lowest offset wins; a version never changes.
    """

    model: Name
    version: Name
    task: Task
    owner: str | None = None
    """Whom alarms concern; copied to every event."""
    features_from: FeaturesFrom = FeaturesFrom.PREDICTIONS
    features: tuple[FeatureSpec, ...] = Field(default=(), max_length=5_000)
    prediction: PredictionSpec | None = None
    outcomes: OutcomeSpec | None = None
    """None: no labels are read."""
    seasonality: Seasonality = Seasonality.NONE
    timezone: str = "UTC"
    """Of the seasons: an IANA name."""
    learning: Literal["frozen", "continuous"] = "frozen"
    """``continuous``: the model keeps learning, so a change of its predictions alone opens no incident."""
    false_alarms: FalseAlarmBudget = FalseAlarmBudget()
    steps: StepSpec = StepSpec()
    tiers: TierSpec = TierSpec()
    detectors: dict[str, DetectorSpec] = Field(default_factory=dict, max_length=MOST_DETECTORS)
    """By signal: a detector of River's whose alarms take the place of the signal's evidence."""
    surrogates: SurrogateSpec | None = None
    """None: no surrogate models."""
    segments: SegmentSpec | None = None
    """None: the rows are not broken down."""
    quality: QualitySpec | None = None
    """None: faults of the data are seen only where they change a distribution."""
    service: ServiceSpec | None = None
    """None: latencies and failed requests are not watched."""
    rules: tuple[RuleSpec, ...] = Field(default=(), max_length=MOST_RULES)
    """What must be true of each row; a violation rate that rises is a signal."""
    retraining: RetrainingSpec = RetrainingSpec()
    policy: PolicySpec | None = None
    """None: the usual one."""
    times: TimeSpec = TimeSpec()
    columns: ColumnNames = ColumnNames()
    reference: ReferenceSpec = ReferenceSpec()

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:  # an unknown one is a KeyError
            raise ValueError(f"unknown timezone {value!r}: use an IANA name such as Europe/Berlin") from error
        return value

    @field_validator("detectors")
    @classmethod
    def _detectors_can_read_their_signals(
        cls, value: dict[str, DetectorSpec], info: ValidationInfo
    ) -> dict[str, DetectorSpec]:
        """Refuse what is no signal, and detectors of zeros and ones for numbers."""
        features, prediction = info.data.get("features"), info.data.get("prediction")
        if features is None or not {"task", "prediction", "outcomes"} <= info.data.keys():
            return value  # they have faults of their own, which are told
        numbers = {feature_signal(each.name): each.type is FeatureType.NUMBER for each in features}
        if prediction is not None:
            numbers[PREDICTION] = prediction.output is not Output.CLASS
        task, outcomes = info.data["task"], info.data["outcomes"]
        if outcomes is not None:
            numbers[LABEL] = task is Task.REGRESSION
        if outcomes is not None and prediction is not None:
            numbers |= {performance_signal(loss): loss not in RATES for loss in _losses(task, outcomes)}
            numbers |= {ESTIMATED_PERFORMANCE: True} if outcomes.estimate else {}
        if faults := [fault for each in sorted(value) if (fault := _unreadable(each, value[each], numbers))]:
            raise ValueError("; ".join(faults))
        return value

    @field_validator("rules")
    @classmethod
    def _rules_can_be_asked(cls, value: tuple[RuleSpec, ...], info: ValidationInfo) -> tuple[RuleSpec, ...]:
        """Refuse rules that name what is no field, or that compare what cannot be compared."""
        known = info.data
        if value and {"task", "features", "prediction", "outcomes", "features_from"} <= known.keys():
            labelled = known["outcomes"] is not None
            fields = fields_of(known["features"], known["task"], known["prediction"], labelled=labelled)
            checked_rules(value, fields, features_come_alone=known["features_from"] is FeaturesFrom.FEATURES)
        return value

    @model_validator(mode="after")
    def _something_is_watched(self) -> Self:
        names = [feature.name for feature in self.features]
        if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
            raise ValueError(f"features named twice: {', '.join(repeated)}")
        if not names and self.prediction is None:
            raise ValueError("nothing to watch: name at least one feature, or what the prediction is")
        return self

    @model_validator(mode="after")
    def _bins_belong_to_signals(self) -> Self:
        if self.reference.frozen is not None:
            signals, bins = set(self.signals), set(self.reference.frozen.bins)
            if signals != bins:
                odd = ", ".join(sorted(signals ^ bins))
                raise ValueError(f"reference and features disagree about {odd}: run `driftline models init` again")
        return self

    @model_validator(mode="after")
    def _checks_were_counted(self) -> Self:
        frozen = self.reference.frozen
        counted = None if frozen is None else frozen.counted or Counted()
        if counted is not None and (lacking := counted.lacks(self.quality, self.service)):
            raise ValueError(f"the reference was not counted for {', '.join(lacking)}: leave that out, "
                             "or run `driftline models init` again")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _outcomes_fit_the_task(self) -> Self:
        """Refuse losses and limits that cannot be computed, and say what can."""
        if self.outcomes is None:
            return self
        output = self.prediction.output if self.prediction is not None else ""
        losses, metrics = (table.get((self.task, output), ()) for table in (LOSSES_OF, METRICS_OF))
        named: dict[str, tuple[Sequence[str], Sequence[str]]] = {
            "losses": (self.outcomes.losses, losses),
            "tiers": (tuple(self.outcomes.tiers), losses),
            "limits": (tuple(self.outcomes.limits), metrics),
        }
        for field, (asked, known) in named.items():
            if odd := [each for each in asked if each not in known]:
                raise ValueError(f"outcomes.{field}: {', '.join(odd)} cannot be computed for {self._answered}: "
                                 f"choose among {', '.join(known) or 'none'}{self._would_help(odd)}")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _reasons_to_retrain_can_come(self) -> Self:
        wanted = self.retraining.continuous
        counts_labels = self.retraining.min_fresh_labels > 0 or (
            wanted is not None and wanted.labelled_rows is not None
        )
        if counts_labels and self.outcomes is None:
            raise ValueError("retraining counts rows with labels and none are read: write `outcomes: {}`")
        if wanted is not None and wanted.challenger_margin is not None and CONCEPT not in self.surrogate_signals:
            raise ValueError("retraining waits for challengers and there are none: they need surrogates and outcomes")
        return self

    @model_validator(mode="after")
    def _segments_can_be_told(self) -> Self:
        """Refuse fields that are numbers, and signals that no segment has."""
        if self.segments is None:
            return self
        types = {feature.name: feature.type for feature in self.features}
        if numbers := [name for name in self.segments.fields if types.get(name) is FeatureType.NUMBER]:
            raise ValueError(f"segments: {', '.join(numbers)} is a number: rows are broken down by categories; "
                             "it can be a field of events that is no feature")  # fmt: skip
        known = self.segmentable
        if odd := [signal for signal in self.segments.signals or () if signal not in known]:
            near = get_close_matches(odd[0], known, 1) or get_close_matches(feature_signal(odd[0]), known, 1)
            hint = f": did you mean {near[0]}?" if near else f"; choose among {', '.join(known)}"
            raise ValueError(f"segments: no segment has a signal {odd[0]!r}{hint}")
        return self

    @property
    def _answered(self) -> str:
        output = "no prediction" if self.prediction is None else f"the output {self.prediction.output}"
        return f"the task {self.task} with {output}"

    def _would_help(self, odd: Sequence[str]) -> str:
        if self.prediction is None:
            return ", or say under `prediction` what the model answers"
        scored = {*LOSSES_OF[Task.BINARY, Output.SCORE], *METRICS_OF[Task.BINARY, Output.SCORE]}
        lacks_score = self.task is Task.BINARY and self.prediction.output is Output.CLASS and set(odd) <= scored
        return ", or set prediction.output to score" if lacks_score else ""

    @property
    def loss(self) -> Loss | None:
        """The loss that is always watched; None where there are no predictions or no labels."""
        return self.losses[0] if self.losses else None

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What is watched of the performance, the basic loss first; none without predictions or labels."""
        if self.outcomes is None or self.prediction is None:
            return ()
        return _losses(self.task, self.outcomes)

    @property
    def estimates(self) -> bool:
        """Whether performance is estimated while labels are still to come."""
        return self.loss is not None and self.outcomes is not None and self.outcomes.estimate

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals in the order of the profile's layout.

        Features, the prediction, the label, the losses, the estimated performance, and how rows are spread over the
        segments of each field.
        """
        names = [feature_signal(feature.name) for feature in self.features]
        if self.prediction is not None:
            names.append(PREDICTION)
        if self.outcomes is not None:
            names.append(LABEL)
        names += [performance_signal(loss) for loss in self.losses]
        if self.estimates:
            names.append(ESTIMATED_PERFORMANCE)
        names += self.segment_signals
        return tuple(names)

    @property
    def counted(self) -> Counted | None:
        """What is counted of rows beside bins: as of the reference or, without one, as the spec wants it."""
        frozen = self.reference.frozen
        return Counted.of(self.quality, self.service) if frozen is None else frozen.counted

    @property
    def segment_signals(self) -> tuple[str, ...]:
        """Names of the signals that watch the shares of segments: one for each field, then for each pair of them."""
        return () if self.segments is None else tuple(map(segment_signal, self.segments.groups))

    @property
    def segmentable(self) -> tuple[str, ...]:
        """Names of the signals that can be judged in a segment: those of rows, and of labels that know their row."""
        others = {ESTIMATED_PERFORMANCE, *self.segment_signals}
        return tuple(signal for signal in self.signals if signal not in others)

    @property
    def checked_rules(self) -> list[CheckedRule]:
        """The rules, read and checked, in the order of the spec."""
        fields = fields_of(self.features, self.task, self.prediction, labelled=self.outcomes is not None)
        return checked_rules(self.rules, fields, features_come_alone=self.features_from is FeaturesFrom.FEATURES)

    @property
    def surrogate_signals(self) -> tuple[str, ...]:
        """Names of the signals that surrogate models watch; none where the spec asks for none, or they cannot work."""
        wanted = self.surrogates
        if wanted is None or not self.features:
            return ()
        answers = self.prediction is not None and self.features_from is FeaturesFrom.PREDICTIONS
        can_work = {
            CONCEPT: wanted.challenger and self.loss is not None,
            MULTIVARIATE: wanted.domain_classifier and len(self.features) > 1 and self.seasonality is Seasonality.NONE,
            MIMIC: wanted.mimic and answers and self.learning == "frozen",
        }
        return tuple(name for name, works in can_work.items() if works)

    @property
    def responses(self) -> PolicySpec:
        """The policy in force."""
        return self.policy if self.policy is not None else USUAL_POLICY

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON of the spec: the identity of what was registered."""
        unused = {name for name in _LATER if getattr(self, name) in (None, {}, ())}
        dumped = self.model_dump(mode="json", exclude=unused)
        dumped["features"] = [brief_feature(each) for each in dumped["features"]]
        if outcomes := dumped.get("outcomes"):
            defaults = OutcomeSpec().model_dump(mode="json")
            dumped["outcomes"] = {
                name: value
                for name, value in outcomes.items()
                if name not in _LATER_OUTCOMES or value != defaults[name]
            }
        usual = RetrainingSpec().model_dump(mode="json")
        dumped["retraining"] = {
            name: value
            for name, value in dumped["retraining"].items()
            if name not in LATER_RETRAINING or value != usual[name]
        }
        if frozen := dumped["reference"]["frozen"]:
            dumped["reference"]["frozen"] = {
                name: value for name, value in frozen.items() if name not in _LATER_FROZEN or value is not None
            }
        content = json.dumps(dumped, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(content.encode()).hexdigest()


def brief_feature(dumped: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a feature, as JSON, the fields that came later and are at their defaults."""
    fields = FeatureSpec.model_fields
    return {
        name: value for name, value in dumped.items() if name not in _LATER_FEATURE or value != fields[name].default
    }


def _losses(task: Task, outcomes: OutcomeSpec) -> tuple[Loss, ...]:
    return tuple(dict.fromkeys([BASIC_LOSS[task], *outcomes.losses]))


def _unreadable(signal: str, detector: DetectorSpec, numbers: dict[str, bool]) -> str | None:
    """Why a detector cannot read a signal, if so; ``numbers`` says of every signal whether it is a number."""
    if signal not in numbers:
        near = get_close_matches(signal, numbers, 1) or get_close_matches(feature_signal(signal), numbers, 1)
        others = f"{feature_signal('NAME')}, {PREDICTION}, or with outcomes {LABEL} or {performance_signal(Loss.ERROR)}"
        shown = f"did you mean {near[0]}?" if near else f"write {others}"
        return f"this model has no signal {signal!r}: {shown}"
    if numbers[signal] and detector.name in ZEROS_AND_ONES:
        return (
            f"{detector.name} reads zeros and ones, and {signal} is a number: "
            "use adwin, kswin or page_hinkley, which read the mean of each step"
        )
    return None
