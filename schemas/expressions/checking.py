"""Types of an expression, found before any row is seen: which fields it reads, and that each part fits its place."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

from schemas.expressions.tree import (
    And,
    Arithmetic,
    Boolean,
    Call,
    Comparison,
    ExpressionError,
    Field,
    Function,
    Membership,
    Missing,
    Negative,
    Node,
    Not,
    Number,
    Or,
    Relation,
    Text,
)

MOST_SHOWN: Final = 8
"""Names of fields that a fault lists."""


class Kind(StrEnum):
    """What a value is."""

    NUMBER = "a number"
    TEXT = "a text"
    TRUTH = "true or false"


def check(node: Node, text: str, fields: Mapping[str, Kind]) -> tuple[str, ...]:
    """Check an expression against the fields of a row.

    Parameters
    ----------
    node
        What was parsed of ``text``.
    fields
        What there is, by name.

    Returns
    -------
    tuple of str
        The fields that it reads, sorted.

    Raises
    ------
    ExpressionError
        At the first part that is not of the type that its place needs, or names no field; or if the whole is no
        condition.
    """
    checker = _Checker(text, fields)
    checker.expect(node, Kind.TRUTH, "a rule is a condition, such as a comparison")
    return tuple(sorted({part.name for part in node.walk() if isinstance(part, Field)}))


class _Checker:
    """Goes down an expression; its depth is bounded where it is read."""

    def __init__(self, text: str, fields: Mapping[str, Kind]) -> None:
        self._text, self._fields = text, fields

    def expect(self, node: Node, kind: Kind, why: str) -> None:
        """Check a part, and that it is of a kind."""
        found = self.kind_of(node)
        if found is not kind:
            raise self._error(node, f"this is {found}: {why}")

    def kind_of(self, node: Node) -> Kind:
        """Check a part and say what it is."""
        match node:
            case Number():
                return Kind.NUMBER
            case Text():
                return Kind.TEXT
            case Boolean():
                return Kind.TRUTH
            case Field():
                return self._field(node)
            case Missing():
                self._field(node.field)
                return Kind.TRUTH
            case Negative() | Arithmetic():
                for part in node.children:
                    self.expect(part, Kind.NUMBER, "arithmetic needs numbers")
                return Kind.NUMBER
            case Call():
                return self._call(node)
            case Comparison():
                return self._comparison(node)
            case Membership():
                return self._membership(node)
            case Not() | And() | Or():
                for part in node.children:
                    self.expect(part, Kind.TRUTH, "`and`, `or` and `not` join conditions")
                return Kind.TRUTH
        raise TypeError(f"no such node: {node!r}")

    def _field(self, node: Field) -> Kind:
        if node.name in self._fields:
            return self._fields[node.name]
        near = get_close_matches(node.name, self._fields, 1)
        if near:
            hint = f"did you mean {written(near[0])}?"
        else:
            shown = [written(name) for name in list(self._fields)[:MOST_SHOWN]]
            hint = f"there are {', '.join(shown)}" + (" and more" if len(self._fields) > MOST_SHOWN else "")
        raise self._error(node, f"there is no field {node.name!r}: {hint}")

    def _call(self, node: Call) -> Kind:
        count = len(node.arguments)
        match node.function:
            case Function.ABS | Function.LEN if count != 1:
                raise self._error(node, f"{node.function} takes one value, not {count}")
            case Function.MIN | Function.MAX if count < 2:
                raise self._error(node, f"{node.function} takes two values or more")
            case Function.LEN:
                self.expect(node.arguments[0], Kind.TEXT, "len counts the characters of a text")
            case _:
                for argument in node.arguments:
                    self.expect(argument, Kind.NUMBER, f"{node.function} needs numbers")
        return Kind.NUMBER

    def _comparison(self, node: Comparison) -> Kind:
        left, kind = node.first, self.kind_of(node.first)
        for relation, right in node.rest:
            other = self.kind_of(right)
            if other is not kind:
                raise self._error(right, f"this is {other}, and what it is compared with is {kind}"
                                         f"{_quoted(left, right)}")  # fmt: skip
            if kind is not Kind.NUMBER and relation not in (Relation.EQUAL, Relation.UNEQUAL):
                raise self._error(node, f"{relation} compares numbers, and this is {kind}: use == or !=")
            left = right
        return Kind.TRUTH

    def _membership(self, node: Membership) -> Kind:
        kind = self.kind_of(node.value)
        if kind is Kind.TRUTH:
            raise self._error(node.value, "`in` looks for a number or a text, and this is true or false")
        for option in node.options:
            self.expect(option, kind, f"what is looked for is {kind}{_quoted(node.value, option)}")
        return Kind.TRUTH

    def _error(self, node: Node, message: str) -> ExpressionError:
        return ExpressionError(message, self._text, node.start, node.end)


def written(name: str) -> str:
    """Write the name of a field as an expression has it: in backquotes, unless it is a plain word."""
    plain = all(part.isidentifier() and part.isascii() for part in name.split("."))
    return name if plain and name.lower() not in _WORDS else f"`{name}`"


def _quoted(left: Node, right: Node) -> str:
    """A hint where a category was compared with a number: categories are texts, whatever they look like."""
    both = (left, right)
    number = next((node for node in both if isinstance(node, Number)), None)
    return "" if number is None else f'; a category is a text: write "{number.value:g}"'


_WORDS: Final = frozenset({"or", "and", "not", "in", "is", "between", "missing", "true", "false"})
