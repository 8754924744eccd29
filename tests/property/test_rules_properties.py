"""Expressions on columns against an oracle that looks at one row at a time, with None for what is not known."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.rows import FALSE, INVALID, TRUE, Source
from detector.rules.book import RuleBook
from schemas.expressions.grammar import parse
from schemas.expressions.tree import (
    And,
    Arithmetic,
    Boolean,
    Call,
    Comparison,
    ExpressionError,
    Field,
    Membership,
    Missing,
    Negative,
    Node,
    Not,
    Number,
    Or,
    Text,
)
from schemas.model_spec import FeatureSpec, ModelSpec
from tests.support.data import rows_of, spec_of

TYPES = {"a": "number", "b": "number", "s": "category", "t": "category", "p": "boolean"}
FEATURES = tuple(FeatureSpec(name=name, type=kind) for name, kind in TYPES.items())
MISSING = object()

# ------------------------------------------------------------------------------------------ what is written

literals = st.sampled_from(["0", "1", "2", "0.5", "1e3", "-1"])
words = st.sampled_from(['"x"', "'y'", '""', '"true"'])
number_leaves = st.one_of(literals, st.sampled_from(["a", "b"]), st.sampled_from(["len(s)", "len(t)"]))
text_leaves = st.one_of(words, st.sampled_from(["s", "t"]))
truth_leaves = st.sampled_from(["p", "true", "false", "a is missing", "s is not missing", "p is missing"])


def bigger_numbers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from("+-*/%"), inner).map(lambda each: f"({each[0]} {each[1]} {each[2]})"),
        st.tuples(inner, inner, inner).map(lambda each: f"{each[0]} - {each[1]} - {each[2]}"),
        inner.map(lambda each: f"abs({each})"),
        inner.map(lambda each: f"(- {each})"),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda each: f"{each[0]}({each[1]}, {each[2]})"),
    )


terms = st.recursive(number_leaves, bigger_numbers, max_leaves=4)
relations = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
sameness = st.sampled_from(["==", "!="])
comparisons = st.one_of(
    st.tuples(terms, relations, terms).map(" ".join),
    st.tuples(terms, relations, terms, relations, terms).map(" ".join),
    st.tuples(text_leaves, sameness, text_leaves).map(" ".join),
    st.tuples(st.sampled_from("st"), st.sampled_from(["in", "not in"]), words, words).map(
        lambda each: f"{each[0]} {each[1]} ({each[2]}, {each[3]})"
    ),
    st.tuples(terms, terms, terms).map(lambda each: f"{each[0]} between {each[1]} and {each[2]}"),
)
conditions = st.recursive(
    st.one_of(truth_leaves, comparisons),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda each: f"({' '.join(each)})"),
        inner.map(lambda each: f"(not {each})"),
        st.tuples(inner, sameness, inner).map(lambda each: f"({each[0]}) {each[1]} ({each[2]})"),
    ),
    max_leaves=6,
).map(lambda condition: f"({condition}) and (a is missing or a is not missing)")

# ------------------------------------------------------------------------------------------- what rows have

number_values = st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.5, 1e300, math.nan, math.inf])
text_values = st.sampled_from(["x", "y", "", "true", None, INVALID])
boolean_values = st.sampled_from([TRUE, FALSE, None, INVALID])
one_row = st.tuples(number_values, number_values, text_values, text_values, boolean_values)

# ----------------------------------------------------------------------------------------------- the oracle

RELATIONS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
             ">": operator.gt, ">=": operator.ge}  # fmt: skip
ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": operator.mod}


def known(name: str, value: Any) -> Any:
    """A value as the oracle takes it: MISSING, None where it is not of its type, or itself."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if value in (INVALID, math.inf):
        return None
    return value == TRUE if TYPES[name] == "boolean" else value


def all_of(values: list[bool | None]) -> bool | None:
    return False if False in values else None if None in values else True


def ask(node: Node, row: dict[str, Any]) -> Any:
    """What a node is in one row; None: not known."""

    def of(part: Node) -> Any:
        return ask(part, row)

    match node:
        case Number() | Text() | Boolean():
            return node.value
        case Field():
            return None if row[node.name] is MISSING else row[node.name]
        case Missing():
            return row[node.field.name] is MISSING
        case Negative():
            value = of(node.operand)
            return None if value is None else -value
        case Arithmetic():
            value = of(node.first)
            for sign, operand in node.rest:
                other = of(operand)
                try:
                    value = None if value is None or other is None else ARITHMETIC[sign](value, other)
                except ZeroDivisionError:
                    value = None
                value = None if value is None or math.isinf(value) else value
            return value
        case Call():
            values = [of(argument) for argument in node.arguments]
            return None if None in values else {"abs": abs, "min": min, "max": max, "len": len}[node.function](*values)
        case Comparison():
            values = [of(part) for part in node.children]
            signs = [sign for sign, _ in node.rest]
            return all_of(
                [
                    None if left is None or right is None else RELATIONS[sign](left, right)
                    for sign, left, right in zip(signs, values[:-1], values[1:], strict=True)
                ]
            )
        case Membership():
            value = of(node.value)
            return None if value is None else any(value == of(option) for option in node.options)
        case Not():
            value = of(node.operand)
            return None if value is None else not value
        case And():
            return all_of([of(part) for part in node.parts])
        case Or():
            value = all_of([None if each is None else not each for each in map(of, node.parts)])
            return None if value is None else not value
    raise TypeError(node)


def fault_of(text: str) -> tuple[int, int, str]:
    """Place and message of a fault; where there is none, the whole of what was read."""
    try:
        node = parse(text)
    except ExpressionError as error:
        return error.start, error.end, str(error)
    assert all(0 <= part.start < part.end <= len(text) for part in node.walk())
    return node.start, node.end, ""


def spec_with(expression: str) -> ModelSpec:
    return spec_of(*FEATURES, rules=[{"name": "r", "expression": expression}])


@settings(max_examples=80, deadline=None)
@given(conditions, st.lists(one_row, min_size=1, max_size=12))
def test_columns_say_of_each_row_what_the_oracle_says(expression: str, rows: list[tuple[Any, ...]]) -> None:
    spec = spec_with(expression)
    columns = {f"feature:{name}": [row[i] for row in rows] for i, name in enumerate(TYPES)}
    (verdicts,) = RuleBook(spec).ask(rows_of(spec, columns, source=Source.PREDICTIONS))
    assert verdicts is not None
    for i, row in enumerate(rows):
        named = {name: known(name, value) for name, value in zip(TYPES, row, strict=True)}
        expected = ask(parse(expression), named)
        assert (bool(verdicts.kept[i]), bool(verdicts.broken[i])) == (expected is True, expected is False)


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(
    ["a", "s", "p", "1", "'x'", "(", ")", ",", "+", "-", "*", "==", "<", "and", "or", "not", "in", "is", "missing",
     "between", "abs", "true", "`", '"', "."]), max_size=20).map(" ".join)))  # fmt: skip
def test_any_text_is_an_expression_or_has_a_fault_with_a_place(text: str) -> None:
    start, end, told = fault_of(text)
    assert 0 <= start < end
    assert start <= len(text)
    assert not told or "^" in told


@settings(max_examples=25, deadline=None)
@given(conditions, st.lists(one_row, min_size=2, max_size=8), st.data())
def test_rows_asked_in_pieces_are_answered_alike(expression: str, rows: list[tuple[Any, ...]], data: Any) -> None:
    spec = spec_with(expression)
    whole = rows_of(spec, {f"feature:{name}": [row[i] for row in rows] for i, name in enumerate(TYPES)})
    cut = data.draw(st.integers(1, len(rows) - 1))
    book = RuleBook(spec)
    pieces = [book.ask(whole.slice(0, cut))[0], book.ask(whole.slice(cut, len(rows)))[0]]
    (at_once,) = book.ask(whole)
    assert at_once is not None
    assert np.array_equal(np.concatenate([piece.broken for piece in pieces if piece]), at_once.broken)
