"""The grammar of expressions, and reading it.

The parser is lark's LALR(1): it works through the text once, from left to right, without going back and without
recursion, so that no text takes it longer than its length allows.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Final, NoReturn, cast

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken, VisitError
from lark.visitors import Transformer_NonRecursive

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
    Operator,
    Or,
    Relation,
    Text,
)

LONGEST: Final = 1_000
"""Characters of an expression."""
DEEPEST: Final = 32
"""Levels of nodes: evaluating goes down one level after the other."""

GRAMMAR: Final = r"""
    ?start: condition
    ?condition: conjunction (_OR conjunction)*                  -> either
    ?conjunction: negation (_AND negation)*                     -> both
    ?negation: NOT negation                                     -> opposite
             | comparison
    ?comparison: sum (RELATION sum)*                            -> compared
               | sum _IN "(" literal ("," literal)* [","] ")"   -> among
               | sum NOT _IN "(" literal ("," literal)* [","] ")" -> not_among
               | sum _BETWEEN sum _AND sum                      -> between
               | field _IS _MISSING                             -> missing
               | field _IS NOT _MISSING                         -> not_missing
    ?sum: product (SIGN product)*                               -> computed
    ?product: factor (SCALE factor)*                            -> computed
    ?factor: SIGN factor                                        -> signed
           | atom
    ?atom: number
         | text
         | TRUE                                                 -> true
         | FALSE                                                -> false
         | field
         | NAME "(" condition ("," condition)* ")"              -> called
         | "(" condition ")"
    ?literal: number
            | SIGN NUMBER                                       -> signed_number
            | text
    number: NUMBER
    text: TEXT
    field: NAME | QUOTED

    _OR: "or"i
    _AND: "and"i
    NOT: "not"i
    _IN: "in"i
    _IS: "is"i
    _BETWEEN: "between"i
    _MISSING: "missing"i
    TRUE: "true"i
    FALSE: "false"i
    RELATION: "==" | "!=" | "<=" | ">=" | "<" | ">"
    SIGN: "+" | "-"
    SCALE: "*" | "/" | "%"
    NAME: /[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*/i
    QUOTED: /`[^`\n]+`/
    NUMBER: /(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?/i
    TEXT: /"[^"\n]*"|'[^'\n]*'/
    %ignore /\s+/
"""

_INSTEAD: Final = {"=": "==", "&": "and", "|": "or", "!": "not, or !="}
"""What other languages write for what is written so here."""
_SHOWN: Final = {
    "_OR": "or", "_AND": "and", "NOT": "not", "_IN": "in", "_IS": "is", "_BETWEEN": "between", "_MISSING": "missing",
    "RELATION": "a comparison", "SIGN": "+ or -", "SCALE": "*, / or %", "NAME": "a field", "NUMBER": "a number",
    "TEXT": "a text in quotes", "LPAR": "(", "RPAR": ")", "COMMA": ",", "$END": "the end",
}  # fmt: skip


def parse(text: str) -> Node:
    """Read an expression.

    Raises
    ------
    ExpressionError
        If it is none, or too long or too deep.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"the expression has {len(text):,} characters; {LONGEST:,} are allowed",
                              text, LONGEST, LONGEST + 1)  # fmt: skip
    try:
        node = _Builder(text).transform(_parser().parse(text))
    except VisitError as error:
        raise error.orig_exc from None
    except UnexpectedInput as error:
        _explain(error, text)
    if node.depth > DEEPEST:
        raise ExpressionError(f"the expression is nested {node.depth} deep; {DEEPEST} are allowed", text, 0, 1)
    return node


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", lexer="basic", maybe_placeholders=False)


def _explain(error: UnexpectedInput, text: str) -> NoReturn:
    """Say in the words of the expression what stands in the wrong place."""
    match error:
        case UnexpectedCharacters():
            start = cast(int, error.pos_in_stream)
            given = text[start]
            unclosed = given in "'\"`"
            hint = "the quotation marks are not closed" if unclosed else f"{given!r} means nothing here"
            hint += f": write {_INSTEAD[given]}" if given in _INSTEAD else ""
            raise ExpressionError(hint, text, start, len(text) if unclosed else start + 1) from None
        case UnexpectedToken(token=Token(type="$END")) | UnexpectedEOF():
            start = len(text.rstrip())
            message = "nothing is written" if not start else f"the expression ends too early: {_wanted(error)}"
            raise ExpressionError(message, text, start, start + 1) from None
        case UnexpectedToken():
            token = error.token
            start, end = cast(int, token.start_pos), cast(int, token.end_pos)
            raise ExpressionError(f"{str(token)!r} cannot stand here: {_wanted(error)}", text, start, end) from None
    raise ExpressionError(str(error), text, 0, 1) from None


def _wanted(error: UnexpectedInput) -> str:
    """What could have stood there."""
    accepts = getattr(error, "accepts", None) or getattr(error, "expected", None) or ()
    if "NAME" in accepts:
        return "a value is missing"
    *others, last = sorted({_SHOWN.get(name, name) for name in accepts})
    return f"expected {', '.join(others)} or {last}" if others else f"expected {last}"


class _Builder(Transformer_NonRecursive[Token, Node]):
    """Makes nodes of what was parsed; tokens carry the places."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    # Methods are called as the rules of the grammar, with what stands in them.

    def either(self, parts: list[Node]) -> Node:
        return parts[0] if len(parts) == 1 else Or(parts[0].start, parts[-1].end, tuple(parts))

    def both(self, parts: list[Node]) -> Node:
        return parts[0] if len(parts) == 1 else And(parts[0].start, parts[-1].end, tuple(parts))

    def opposite(self, parts: list[Any]) -> Node:
        sign, operand = parts
        return Not(sign.start_pos, operand.end, operand)

    def compared(self, parts: list[Any]) -> Node:
        if len(parts) == 1:
            return cast(Node, parts[0])
        rest = tuple((Relation(str(sign)), node) for sign, node in zip(parts[1::2], parts[2::2], strict=True))
        return Comparison(parts[0].start, parts[-1].end, parts[0], rest)

    def among(self, parts: list[Node]) -> Node:
        return Membership(parts[0].start, parts[-1].end, parts[0], tuple(parts[1:]))

    def not_among(self, parts: list[Any]) -> Node:
        value, _, *options = parts
        inner = self.among([value, *options])
        return Not(inner.start, inner.end, inner)

    def between(self, parts: list[Node]) -> Node:
        value, low, high = parts
        rest = ((Relation.LESS_OR_EQUAL, value), (Relation.LESS_OR_EQUAL, high))
        return Comparison(value.start, high.end, low, rest)

    def missing(self, parts: list[Any]) -> Node:
        return Missing(parts[0].start, parts[0].end, parts[0])

    def not_missing(self, parts: list[Any]) -> Node:
        return Not(parts[0].start, parts[0].end, self.missing(parts[:1]))

    def computed(self, parts: list[Any]) -> Node:
        if len(parts) == 1:
            return cast(Node, parts[0])
        rest = tuple((Operator(str(sign)), node) for sign, node in zip(parts[1::2], parts[2::2], strict=True))
        return Arithmetic(parts[0].start, parts[-1].end, parts[0], rest)

    def signed(self, parts: list[Any]) -> Node:
        sign, operand = parts
        return operand if sign == "+" else Negative(sign.start_pos, operand.end, operand)

    def signed_number(self, parts: list[Token]) -> Node:
        sign, digits = parts
        value = self._finite(digits)
        return Number(cast(int, sign.start_pos), cast(int, digits.end_pos), -value if sign == "-" else value)

    def number(self, parts: list[Token]) -> Node:
        return Number(*_place(parts[0]), self._finite(parts[0]))

    def text(self, parts: list[Token]) -> Node:
        return Text(*_place(parts[0]), parts[0][1:-1])

    def true(self, parts: list[Token]) -> Node:
        return Boolean(*_place(parts[0]), True)

    def false(self, parts: list[Token]) -> Node:
        return Boolean(*_place(parts[0]), False)

    def field(self, parts: list[Token]) -> Node:
        return Field(*_place(parts[0]), parts[0].strip("`"))

    def called(self, parts: list[Any]) -> Node:
        name, *arguments = parts
        try:
            function = Function(name.lower())
        except ValueError:
            known = f"there is no function {str(name)!r}: there are {', '.join(Function)}"
            raise ExpressionError(known, self._text, *_place(name)) from None
        return Call(name.start_pos, arguments[-1].end, function, tuple(arguments))

    def _finite(self, digits: Token) -> float:
        value = float(digits)
        if math.isinf(value):
            raise ExpressionError("the number is out of range", self._text, *_place(digits))
        return value


def _place(token: Token) -> tuple[int, int]:
    return cast(int, token.start_pos), cast(int, token.end_pos)
