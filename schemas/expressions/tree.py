"""What an expression is made of: nodes that know where in the text they stand.

There are no nodes that call, import, index or loop: what is no node here cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class ExpressionError(ValueError):
    """An expression that cannot be used; the message shows the place.

    Parameters
    ----------
    message
        What is wrong, and what would be right.
    text
        The whole expression.
    start, end
        Where the fault stands in it, in characters; ``end`` is exclusive.
    """

    def __init__(self, message: str, text: str, start: int, end: int) -> None:
        self.start, self.end = start, end
        line = text[:start].count("\n")
        begin = text.rfind("\n", 0, start) + 1
        shown = text.split("\n")[line]
        marked = max(1, min(end - start, len(shown) - (start - begin)))
        caret = " " * (start - begin) + "^" + "~" * (marked - 1)
        super().__init__(f"{message}, at character {start + 1}\n    {shown}\n    {caret}")


class Relation(StrEnum):
    """How two values are compared."""

    EQUAL = "=="
    UNEQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


class Operator(StrEnum):
    """How two numbers make one."""

    PLUS = "+"
    MINUS = "-"
    TIMES = "*"
    OVER = "/"
    MODULO = "%"


class Function(StrEnum):
    """What can be called."""

    ABS = "abs"
    MIN = "min"
    MAX = "max"
    LEN = "len"


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression: the characters ``start`` to ``end`` (exclusive)."""

    start: int
    end: int

    @property
    def children(self) -> tuple[Node, ...]:
        """Parts of this part."""
        return ()

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, level by level."""
        level: tuple[Node, ...] = (self,)
        while level:
            yield from level
            level = tuple(child for node in level for child in node.children)

    @property
    def depth(self) -> int:
        """Levels of nodes, this one included; counted without recursion, which is what a depth must not cost."""
        depth, level = 0, (self,)
        while level:
            depth += 1
            level = tuple(child for node in level for child in node.children)  # type: ignore[assignment]
        return depth


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A number that is written out."""

    value: float


@dataclass(frozen=True, slots=True)
class Text(Node):
    """A text in quotes."""

    value: str


@dataclass(frozen=True, slots=True)
class Boolean(Node):
    """``true`` or ``false``."""

    value: bool


@dataclass(frozen=True, slots=True)
class Field(Node):
    """A value of the row, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Negative(Node):
    """A number with its sign turned."""

    operand: Node

    @property
    def children(self) -> tuple[Node, ...]:
        """The number."""
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    """Numbers of one precedence, computed from left to right: ``a - b + c``."""

    first: Node
    rest: tuple[tuple[Operator, Node], ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """All numbers."""
        return (self.first, *(node for _, node in self.rest))


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function of values."""

    function: Function
    arguments: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The arguments."""
        return self.arguments


@dataclass(frozen=True, slots=True)
class Comparison(Node):
    """One comparison or several in a chain, all of which must hold: ``0 <= a < b``."""

    first: Node
    rest: tuple[tuple[Relation, Node], ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """All values."""
        return (self.first, *(node for _, node in self.rest))


@dataclass(frozen=True, slots=True)
class Membership(Node):
    """Whether a value is one of those written out: ``status in ("open", "closed")``."""

    value: Node
    options: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The value, and the options."""
        return (self.value, *self.options)


@dataclass(frozen=True, slots=True)
class Missing(Node):
    """Whether a field has no value: the one question that always has an answer."""

    field: Field

    @property
    def children(self) -> tuple[Node, ...]:
        """The field."""
        return (self.field,)


@dataclass(frozen=True, slots=True)
class Not(Node):
    """The opposite."""

    operand: Node

    @property
    def children(self) -> tuple[Node, ...]:
        """What is turned round."""
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class And(Node):
    """All of them."""

    parts: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The conditions."""
        return self.parts


@dataclass(frozen=True, slots=True)
class Or(Node):
    """At least one of them."""

    parts: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The conditions."""
        return self.parts
