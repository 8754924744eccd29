"""Business rules: what must be true of each row, in the words of the domain (``loan_amount <= 5 * income``).

A rule reads the features by their names, and beside them:

==================  ==================================================================================
``prediction``      the class or number that is watched
``score``           the score that is watched
``label``           what came true, where the spec has outcomes: the rule is then asked when the label comes
``time.hour``       0 to 23, in the spec's timezone
``time.weekday``    0 (Monday) to 6
==================  ==================================================================================

A feature of the same name hides them. Names that are no plain word stand in backquotes: `` `loan amount` ``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from schemas.base import Outbound
from schemas.expressions.checking import Kind, check
from schemas.expressions.tree import ExpressionError, Node

if TYPE_CHECKING:
    from schemas.model_spec import FeatureSpec, PredictionSpec, Task

MOST_RULES: Final = 200

RULE_FAULT: Final = "rule"
"""Type of the fault whose message shows an expression; `agents.spec_file` prints it as it is."""


class Origin(StrEnum):
    """Where a field of a row comes from."""

    FEATURE = "the features"
    PREDICTION = "the prediction"
    LABEL = "the label"
    TIME = "the time"


@dataclass(frozen=True, slots=True)
class RowField:
    """What a rule can read."""

    kind: Kind
    origin: Origin


HOUR: Final = "time.hour"
WEEKDAY: Final = "time.weekday"


def parsed(expression: str) -> Node:
    """Read an expression; a spec without rules never loads the parser.

    Raises
    ------
    ExpressionError
        If it is none.
    """
    from schemas.expressions.grammar import parse  # noqa: PLC0415 - see above

    return parse(expression)


def _is_expression(value: str) -> str:
    try:
        parsed(value)
    except ExpressionError as error:
        raise fault(str(error)) from None
    return value


def fault(message: str) -> PydanticCustomError:
    """Make a fault of a message that shows an expression; braces in it are text."""
    return PydanticCustomError(RULE_FAULT, "{shown}", {"shown": message})


class RuleSpec(Outbound):
    """One rule: the signal ``quality:rule:<name>`` is the share of the rows that break it."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.-]+$")
    expression: Annotated[str, AfterValidator(_is_expression)]
    """True of a good row. Where a value that it needs is missing, nothing is said: such a row is no violation."""
    severity: Literal["minor", "moderate", "significant"] = "moderate"
    """Tier of a violation rate that has surely risen; only where nearly every row breaks the rule it is worse."""
    rise: float = Field(default=0.005, gt=0.0, lt=1.0)
    """Rise of the violation rate over the reference's from which it counts: 0.005 is one row in 200."""
    description: str | None = Field(default=None, max_length=500)
    """Why, for people."""

    @property
    def node(self) -> Node:
        """The expression, read."""
        return parsed(self.expression)


def fields_of(
    features: Iterable[FeatureSpec], task: Task, prediction: PredictionSpec | None, *, labelled: bool
) -> dict[str, RowField]:
    """Name what rules of a model can read; see the table above."""
    fields = {each.name: RowField(_KINDS[each.type], Origin.FEATURE) for each in features}
    answer = Kind.NUMBER if task == "regression" else Kind.TEXT
    beside: dict[str, RowField] = {}
    if prediction is not None and prediction.output == "score":
        beside["score"] = RowField(Kind.NUMBER, Origin.PREDICTION)
    elif prediction is not None:
        beside["prediction"] = RowField(_KINDS[prediction.output], Origin.PREDICTION)
    if labelled:
        beside["label"] = RowField(answer, Origin.LABEL)
    beside |= dict.fromkeys((HOUR, WEEKDAY), RowField(Kind.NUMBER, Origin.TIME))
    return fields | {name: each for name, each in beside.items() if name not in fields}


@dataclass(frozen=True, slots=True)
class CheckedRule:
    """A rule, read and checked against the fields of a model.

    Attributes
    ----------
    rule, node
        As it is written, and as it was read.
    fields
        What it reads, by name.
    """

    rule: RuleSpec
    node: Node
    fields: dict[str, RowField]

    @classmethod
    def of(cls, rule: RuleSpec, fields: Mapping[str, RowField]) -> Self:
        """Check a rule.

        Raises
        ------
        ExpressionError
            If it names no field, has a wrong type, or reads nothing of the row.
        """
        node = rule.node
        names = check(node, rule.expression, {name: each.kind for name, each in fields.items()})
        used = {name: fields[name] for name in names}
        if not {each.origin for each in used.values()} - {Origin.TIME}:
            raise ExpressionError("a rule reads a feature, the prediction or the label", rule.expression,
                                  node.start, node.end)  # fmt: skip
        return cls(rule, node, used)

    @property
    def origins(self) -> frozenset[Origin]:
        """Where what it reads comes from."""
        return frozenset(each.origin for each in self.fields.values())


def checked_rules(
    rules: Sequence[RuleSpec], fields: Mapping[str, RowField], *, features_come_alone: bool
) -> list[CheckedRule]:
    """Check all rules of a spec.

    Parameters
    ----------
    fields
        As `fields_of` names them.
    features_come_alone
        Whether features come in a stream of their own, apart from the predictions.

    Raises
    ------
    PydanticCustomError
        That shows every fault.
    """
    faults = [f"rules named twice: {name}" for name, count in Counter(each.name for each in rules).items() if count > 1]
    checked: list[CheckedRule] = []
    for rule in rules:
        try:
            checked.append(CheckedRule.of(rule, fields))
        except ExpressionError as error:
            faults.append(f"rule {rule.name}: {error}")
            continue
        if features_come_alone and checked[-1].origins >= {Origin.FEATURE, Origin.PREDICTION}:
            faults.append(f"rule {rule.name} reads features and the prediction, which come in streams of their own: "
                          "set features_from to predictions")  # fmt: skip
    if faults:
        raise fault("\n".join(faults))
    return checked


_KINDS: Final = {
    "number": Kind.NUMBER,
    "category": Kind.TEXT,
    "boolean": Kind.TRUTH,
    "class": Kind.TEXT,
}
"""What the values of a feature's type, and of a prediction's output, are in an expression."""
