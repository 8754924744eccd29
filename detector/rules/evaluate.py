"""An expression on columns: every part is computed for all rows at once, from the leaves up.

The tree was checked against the fields before (``schemas.expressions.checking``), so that types are not looked at
again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import and_, or_
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from detector.rules.values import Floats, Mask, Texts, Truth, Values
from schemas.expressions.tree import (
    And,
    Arithmetic,
    Boolean,
    Call,
    Comparison,
    Field,
    Function,
    Membership,
    Missing,
    Negative,
    Node,
    Not,
    Number,
    Operator,
    Or,
    Relation,
    Text,
)


class Evaluation:
    """Evaluates expressions on the same n rows.

    Parameters
    ----------
    fields
        Values of the fields, by name.
    missing
        (n,) where a field has no value at all, by name; a value that is not of its type is not known, but not missing.
    """

    def __init__(self, fields: Mapping[str, Values], missing: Mapping[str, Mask]) -> None:
        self._fields, self._missing = fields, missing

    def truth(self, node: Node) -> Truth:
        """Evaluate a condition; its masks are (n,), or () if it reads no field."""
        with np.errstate(all="ignore"):  # what is not finite is not known
            return cast(Truth, self._value(node))

    def _value(self, node: Node) -> Values:
        match node:
            case Number():
                return np.array(node.value)
            case Text():
                return Texts(np.array(node.value, dtype=object), np.array(True))
            case Boolean():
                return Truth(np.array(node.value), np.array(not node.value))
            case Field():
                return self._fields[node.name]
            case Missing():
                missing = self._missing[node.field.name]
                return Truth(missing, ~missing)
            case Negative():
                return -self._number(node.operand)
            case Arithmetic():
                return self._arithmetic(node)
            case Call():
                return self._call(node)
            case Comparison():
                return self._comparison(node)
            case Membership():
                options = (self._compare(Relation.EQUAL, self._value(node.value), self._value(option))
                           for option in node.options)  # fmt: skip
                return reduce(or_, options)
            case Not():
                return ~self.truth(node.operand)
            case And():
                return reduce(and_, map(self.truth, node.parts))
            case Or():
                return reduce(or_, map(self.truth, node.parts))
        raise TypeError(f"no such node: {node!r}")

    def _number(self, node: Node) -> Floats:
        return cast(Floats, self._value(node))

    def _arithmetic(self, node: Arithmetic) -> Floats:
        value = self._number(node.first)
        for operator, operand in node.rest:
            value = _known(_ARITHMETIC[operator](value, self._number(operand)))
        return value

    def _call(self, node: Call) -> Floats:
        if node.function is Function.LEN:
            return cast(Texts, self._value(node.arguments[0])).lengths()
        arguments = map(self._number, node.arguments)
        return np.asarray(reduce(_FUNCTIONS[node.function], arguments) if len(node.arguments) > 1 else
                          np.abs(next(arguments)))  # fmt: skip

    def _comparison(self, node: Comparison) -> Truth:
        values = list(map(self._value, node.children))
        pairs = zip(node.rest, values[:-1], values[1:], strict=True)
        return reduce(and_, (self._compare(relation, left, right) for (relation, _), left, right in pairs))

    @staticmethod
    def _compare(relation: Relation, left: Values, right: Values) -> Truth:
        if isinstance(left, Texts | Truth):
            same = left.equals(right)  # type: ignore[arg-type]
            return same if relation is Relation.EQUAL else ~same
        holds, fails = _RELATIONS[relation]
        return Truth(np.asarray(holds(left, right)), np.asarray(fails(left, right)))


def _known(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)


def _differ(left: Any, right: Any) -> NDArray[np.bool_]:
    """Whether numbers are known to differ: ``!=`` would take NaN for a difference."""
    return np.asarray((left < right) | (left > right))


_ARITHMETIC: Final[dict[Operator, Callable[[Floats, Floats], Floats]]] = {
    Operator.PLUS: np.add,
    Operator.MINUS: np.subtract,
    Operator.TIMES: np.multiply,
    Operator.OVER: np.divide,
    Operator.MODULO: np.mod,
}

_FUNCTIONS: Final[dict[Function, Callable[[Floats, Floats], Floats]]] = {
    Function.MIN: np.minimum,
    Function.MAX: np.maximum,
}
"""Those of two numbers or more."""

_Relate = Callable[[Any, Any], Any]

_RELATIONS: Final[dict[Relation, tuple[_Relate, _Relate]]] = {
    Relation.EQUAL: (np.equal, _differ),
    Relation.UNEQUAL: (_differ, np.equal),
    Relation.LESS: (np.less, np.greater_equal),
    Relation.LESS_OR_EQUAL: (np.less_equal, np.greater),
    Relation.GREATER: (np.greater, np.less_equal),
    Relation.GREATER_OR_EQUAL: (np.greater_equal, np.less),
}
"""By relation of numbers: what makes it surely true, and what surely false."""
