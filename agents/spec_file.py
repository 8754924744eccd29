"""A model spec as a YAML file that a person reads and edits: the readable part first, the frozen reference last.

Writing explains each part in a comment. Reading names the file, the line, the field and what would be right. What was
written reads back as the same spec, with the same hash.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from agents.errors import OperatorError
from schemas.detectors import DetectorName
from schemas.model_spec import FrozenReference, ModelSpec, brief_feature
from schemas.rules import RULE_FAULT, RuleSpec

_WIDTH: Final = 110
_TAGS: Final = frozenset({"number", "category", *DetectorName})
"""Kinds of bins and of detectors: pydantic puts them into the path of a fault, where no field is called so."""
Path_ = Sequence[str | int]


class SpecFileError(OperatorError):
    """A file is no model spec; the message names the file, the line, the field and the fix."""


# -------------------------------------------------------------------------------------------------------------- writing


def write_spec(path: Path, spec: ModelSpec, heading: Sequence[str] = ()) -> None:
    """Write a spec with its explanations; ``heading`` are lines of comment for the top of the file."""
    path.write_text(render_spec(spec, heading))


def render_spec(spec: ModelSpec, heading: Sequence[str] = ()) -> str:
    """Write a spec as YAML with comments."""
    content = spec.model_dump(mode="json")
    content["features"] = [brief_feature(feature) for feature in content["features"]]
    frozen = content["reference"].pop("frozen")
    lines = [f"# {line}".rstrip() for line in heading] + [""] * bool(heading)
    for section in _SECTIONS:
        lines += [f"# {line}" for line in textwrap.wrap(section.comment, _WIDTH)]
        lines += [line for name in section.fields for line in _field(name, content[name])]
        lines.append("")
    lines[-1:] = _frozen(frozen)
    return "\n".join(lines) + "\n"


def _field(name: str, value: Any) -> Iterator[str]:
    """One field; mappings and lists of mappings have one line for each entry."""
    if isinstance(value, list) and value:
        yield f"{name}:"
        yield from (f"  - {_inline(entry)}" for entry in value)
    elif isinstance(value, dict) and value:
        yield f"{name}:"
        yield from (f"  {_inline(key)}: {_inline(entry)}" for key, entry in value.items())
    else:
        yield f"{name}: {_inline(value)}"


def _inline(value: Any) -> str:
    """Write a value on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")


def _frozen(frozen: dict[str, Any] | None) -> Iterator[str]:
    """The frozen reference, its encoded counts last."""
    if frozen is None:
        yield "  frozen: null"
        return
    yield "  frozen:"
    for name in FrozenReference.model_fields:
        value = frozen[name]
        yield from (f"    # {line}" for line in textwrap.wrap(_FROZEN.get(name, ""), _WIDTH - 4))
        if name == "profile":
            yield "    profile: |"
            yield from (f"      {line}" for line in textwrap.wrap(value, _WIDTH - 6))
        elif isinstance(value, dict) and value:
            yield f"    {name}:"
            yield from (f"      {_inline(key)}: {_inline(entry)}" for key, entry in value.items())
        else:
            yield f"    {name}: {_inline(value)}"


# -------------------------------------------------------------------------------------------------------------- reading


def read_spec(path: Path) -> ModelSpec:
    """Read a spec.

    Raises
    ------
    SpecFileError
        With one line for each fault: file, line, field, what is wrong, what would be right.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecFileError(f"{path}: there is no such file; `driftline models init` makes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecFileError(f"{path}: cannot be read: {error}") from None
    return parse_spec(text, str(path))


def read_rules(path: Path) -> tuple[RuleSpec, ...]:
    """Read a list of rules, by itself or under ``rules:``.

    Raises
    ------
    SpecFileError
        As `read_spec` does.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecFileError(f"{path}: cannot be read: {error}") from None
    rules = content.get("rules") if isinstance(content, dict) else content
    if not isinstance(rules, list):
        raise SpecFileError(f"{path}: a list of rules begins with `- name: ...`")
    try:
        return tuple(RuleSpec.model_validate(rule) for rule in rules)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        raise SpecFileError(f"{path}: {'.'.join(map(str, detail['loc']))}: {_fault(detail, detail['loc'])}") from None


def parse_spec(text: str, name: str) -> ModelSpec:
    """Read a spec from YAML; ``name`` is what errors call it.

    Raises
    ------
    SpecFileError
        As ``read_spec`` does.
    """
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecFileError(f"{name}{_line_of_error(error)}: no YAML: {_problem(error)}") from None
    if not isinstance(content, dict) or not isinstance(tree, yaml.MappingNode):
        raise SpecFileError(f"{name}: a model spec is a mapping that begins with `model: ...`")
    if repeated := next(_repeated_keys(tree), None):
        raise SpecFileError(f"{name}:{repeated.start_mark.line + 1}: {repeated.value} stands here a second time")
    _join_profile(content)
    try:
        return ModelSpec.model_validate(content)
    except ValidationError as error:
        faults = [_explain(name, tree, detail) for detail in error.errors(include_url=False)]
        raise SpecFileError("\n".join(dict.fromkeys(faults))) from None


def _join_profile(content: dict[str, Any]) -> None:
    """Take the line breaks out of the encoded counts."""
    reference = content.get("reference")
    frozen = reference.get("frozen") if isinstance(reference, dict) else None
    if isinstance(frozen, dict) and isinstance(frozen.get("profile"), str):
        frozen["profile"] = "".join(frozen["profile"].split())


def _repeated_keys(node: yaml.Node) -> Iterator[yaml.Node]:
    """Keys that a mapping has twice, anywhere: YAML would take the last without a word."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key
            seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _repeated_keys(entry)


def _explain(name: str, tree: yaml.Node, detail: ErrorDetails) -> str:
    """One line for one fault."""
    where = [step for step in detail["loc"] if step not in _TAGS]
    line = _line(tree, where)
    field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where).removeprefix(".")
    place = f"{name}:{line}: " if where else f"{name}: "
    return f"{place}{field}{': ' if field else ''}{_fault(detail, where)}"


def _fault(detail: ErrorDetails, where: Path_) -> str:
    """What is wrong, and what would be right."""
    given, message, facts = detail.get("input"), detail["msg"].removeprefix("Value error, "), detail.get("ctx", {})
    match detail["type"]:
        case _ if detail["type"] == RULE_FAULT:
            return message
        case "extra_forbidden":
            near = get_close_matches(str(where[-1]), _names_at(detail["loc"][:-1]), 1)
            return f"there is no such field{f'; did you mean {near[0]}?' if near else ''}"
        case "missing":
            return "is required"
        case "string_type" if isinstance(given, int | float) and not isinstance(given, bool):
            return f'{given} must be text: put it in quotes, as in "{given}"'
        case "enum" | "literal_error":
            return f"{given!r} is none of {facts.get('expected', '')}".replace(" or ", ", ")
        case "union_tag_invalid":
            kinds = re.sub(r"<[\w.]+: ([^>]+)>", r"\1", facts["expected_tags"])  # an enum's members come as their repr
            return f"{facts['tag']!r} is none of {kinds}"
        case "union_tag_not_found":
            return f"{str(facts['discriminator']).strip(chr(39))} is required"
        case "float_type" if isinstance(given, str):
            return f"{given!r} is no number: without quotes, and with a point before an exponent, as in 1.0e-3"
        case "time_delta_parsing" | "time_delta_type":
            return f"{given!r} is no duration: write it as in 250ms, 10s, 5m, 1h, 30d or 2w"
    shown = f"{given!r}: " if isinstance(given, str | int | float) and repr(given) not in message else ""
    return f"{shown}{message[:1].lower()}{message[1:]}"


def _names_at(path: Path_) -> list[str]:
    """Fields that a part of the spec has; ``path`` is as pydantic gives it, with its tags."""
    kinds: list[type[BaseModel]] = [ModelSpec]
    for step in path:
        if step in _TAGS:
            kinds = [kind for kind in kinds if any(step in get_args(f.annotation) for f in kind.model_fields.values())]
        elif kinds and step in kinds[0].model_fields:
            kinds = _models_in(kinds[0].model_fields[str(step)].annotation)
    return list(kinds[0].model_fields) if kinds else []


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Find the pydantic models inside an annotation such as ``tuple[FeatureSpec, ...]`` or ``X | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


def _line(node: yaml.Node, where: Path_) -> int:
    """Line of the node at a path, or of the deepest one on the way there that exists."""
    line = node.start_mark.line
    for step in where:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(step)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line
        else:
            break
    return int(line) + 1


def _line_of_error(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]


# ----------------------------------------------------------------------------------------------------------- the prose


@dataclass(frozen=True, slots=True)
class _Section:
    """Fields that are explained together."""

    fields: tuple[str, ...]
    comment: str


_SECTIONS: Final = (
    _Section(
        ("model", "version", "task", "owner"),
        "What the model is. A version never changes: once it is applied, a changed spec needs a new version. "
        "task: binary, multiclass or regression. owner: whom alarms concern, copied to every event.",
    ),
    _Section(
        ("features", "features_from"),
        "What is watched of its input. type: number, category or boolean. importance: ranks the features of an "
        "incident, by score x importance. bounds: [low, high] that sums are clipped to. Values can be held to minimum, "
        "maximum, max_length, categories: [A, B]; one that is not is invalid. required: true where a value must be "
        "there. on_invalid: row where such a row is not to be counted but becomes a dead letter, else value. unit: for "
        "people. To watch less, run "
        "`models init --exclude NAME`. features_from: whether features are judged as they come with the predictions or "
        "on a stream of their own (predictions, features).",
    ),
    _Section(
        ("prediction", "learning"),
        "What is watched of its answers. output: score (probability of the positive class), class or number. "
        "learning: continuous where the model keeps learning, so that a change of its answers alone is no incident; "
        "else frozen.",
    ),
    _Section(
        ("outcomes",),
        "What came true. null: no labels are read; {}: labels are watched, and the loss that they show (error, or "
        "absolute_error for a regression). threshold: score from which the positive class counts as predicted, where "
        "there is no class. losses: further ones to watch: false_discovery (1 - precision), miss (1 - recall), and for "
        "a score log_loss, brier; for a regression squared_error, pinball (of the quantile). tiers: rises of a mean "
        "loss that are minor, moderate, significant, as in {error: {minor: 0.02, moderate: 0.05, significant: 0.1}}; "
        "those not named: just that for rates, 10 %, 25 %, 50 % of the reference's mean for others. limits: values "
        "that a metric may not surely pass, whatever the reference was, as in {accuracy: 0.8, auc: 0.7, log_loss: "
        "0.5}: accuracy, precision, recall, f1, auc, log_loss, brier, calibration_error; mae, mse, rmse, pinball. "
        "limit_tier: how bad that is. estimate: whether performance is estimated while labels are still to come. "
        "Limits and tiers can be edited here; losses are measured on the reference: run `models init --loss NAME`. "
        "wait: how long predictions and labels wait for each other. sample: share of the prediction ids that are "
        "joined. features: whether the features wait for the label too, for surrogate models and estimates.",
    ),
    _Section(
        ("seasonality", "timezone"),
        "Each hour is compared with its own: none, daily (24 hours) or weekly (168). The reference is counted so: run "
        "`models init` again after a change.",
    ),
    _Section(
        ("false_alarms",),
        "False alarms that the model may raise, all its features together: the thresholds of evidence follow from it.",
    ),
    _Section(
        ("tiers",),
        "How large a change (PSI) is minor, moderate or significant, and after how many quiet steps it is over.",
    ),
    _Section(
        ("detectors",),
        "A signal whose evidence is an alarm of one of River's detectors instead, as in `prediction: {name: adwin, "
        "parameters: {delta: 0.002}}`: adwin, kswin, page_hinkley, and for what is no number also ddm, eddm, hddm_a, "
        "hddm_w. Signals are feature:NAME, prediction, and with outcomes label, performance:LOSS, "
        "estimated_performance. No false-alarm budget is kept for these.",
    ),
    _Section(
        ("surrogates",),
        "Simple models that learn beside this one from a sample of its rows and warn early. null: none; {}: all that "
        "can work. challenger (signal concept): models trained on recent labels gain on this one. domain_classifier "
        "(multivariate): recent rows can be told from the reference's. mimic: the model answers otherwise than it did. "
        "The reference keeps raw rows for them: run `models init` again after a change.",
    ),
    _Section(
        ("segments",),
        "By what rows are broken down, to find what happens in one country and hides in the whole. null: nothing. "
        "fields: categories such as [country, device]: the feature of that name, or else a value among the `segments` "
        "of an event (a column of that name in a file). pairs: combinations of two of them, as in [[country, device]]. "
        "top: so many values of each, the most frequent in the reference, are segments; all others are one more. "
        "signals: what is judged in each, as in [feature:amount, prediction]; null: all that rows and labels carry. "
        "The reference is counted so: run `models init --segment COLUMN` again after a change.",
    ),
    _Section(
        ("policy",),
        "What follows drift. null is the usual: minor is to be looked at, moderate to be watched closely too, "
        "significant asks for retraining too. labels: for routing, runbook: a link; both are copied to every event. "
        "actions: by tier (investigate, enhanced_monitoring, retrain). reopen_within: a drift that is back so soon is "
        "the same incident. maintenance: windows in which nothing follows, [{cron: '0 2 * * SUN', lasts: 2h}, {since: "
        "TIME, until: TIME}]. alerts: {at_once: significant, digest: '0 8 * * *', group_within: 1h}. Cron is in the "
        "timezone of the model.",
    ),
    _Section(
        ("quality",),
        "Faults of the data: rates of rows that rise above the reference's, with incidents of their own. null: none is "
        "watched. checks: missing, invalid, unseen, out_of_range, outliers, unit, precision, frozen, duplicates, late; "
        "a feature has those that can happen to its type. late_after: how far behind the newest a row may come. "
        "tiers: increases of a rate that are minor, moderate, significant, as in {missing: {minor: 0.02, moderate: "
        "0.05, significant: 0.1}}. Checks may be left out and tiers edited here; to add one, run `models init` again.",
    ),
    _Section(
        ("service",),
        "How the service answers, as `latency_ms` and `status` (ok, error, timeout) of predictions tell. null: it "
        "is not watched; {}: it is. slow_ms: an answer that took so long is slow. expected: rates of latency (slow "
        "answers), errors and timeouts to expect where the reference tells none, as in {errors: 0.001}; else 0.01. "
        "tiers: increases of a rate, as in {errors: {minor: 0.02, moderate: 0.05, significant: 0.1}}.",
    ),
    _Section(
        ("rules",),
        "What must be true of each row, as in `{name: affordable, expression: loan_amount <= 5 * income}`; the share "
        "of rows that break a rule is the signal quality:rule:NAME. Expressions have numbers, texts in quotes, true, "
        "false; + - * / %; == != < <= > >=; and, or, not; in (...), between A and B, is missing; abs, min, max, len; "
        "beside features prediction or score, label, time.hour, time.weekday. severity: its tier once the share has "
        "surely risen by `rise`. Where a value is missing nothing is said.",
    ),
    _Section(
        ("retraining",),
        "When retraining is asked for; at most one request at a time, and one in the cooldown, by the model's time. "
        "triggered: {signals: ['performance:*'], lasting: 6h} narrows which incidents ask. scheduled: {cron: '0 3 * * "
        "MON', jitter: 1h}. continuous: {labelled_rows: 50000, challenger_margin: 0.02}. max_age of a version; "
        "min_fresh_labels and most_per_day for all of these; blackout: windows as for maintenance. answers: how long a "
        "pipeline may take to answer on retrain-acks, {within: 6h, repeats: 2, finish_within: 2d}; within: null where "
        "none does.",
    ),
    _Section(
        ("steps",),
        "Rows are judged in steps of min_rows or more, by event time: a busy model at most once in min_interval on "
        "average, a quiet one after max_wait with fewer rows.",
    ),
    _Section(
        ("times",),
        "Event times further ahead of the record's own timestamp, or behind it, are not believed. null: any is.",
    ),
    _Section(
        ("columns",),
        "Columns of a file, for `models init` and `backtest`; features stand under their own names.",
    ),
    _Section(
        ("reference",),
        "What the model is compared with. rows: how many to collect from the stream where nothing is frozen here. "
        "All below `frozen` was measured: it is read, not edited.",
    ),
)

_FROZEN: Final = {
    "bins": "How values are binned: edges of numbers, categories by frequency.",
    "dispersion": "How bursty the rows are: the variance of means of blocks of rows over that of independent rows.",
    "segment_dispersion": "The same in each segment, of each signal judged there.",
    "calibration": "The loss to expect of a prediction, by its bin and by features, as its labels taught.",
    "norms": "What is usual of numbers: what checks of their quality go by.",
    "counted": "What else was counted for checks of quality and of the service.",
    "profile": "Counts by bin and phase, encoded.",
    "sample": "Raw rows for the surrogate models, encoded.",
}
