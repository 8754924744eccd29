"""Reading and checking expressions: what can be written, and what a fault says."""

from __future__ import annotations

import pytest

from schemas.expressions.checking import Kind, check
from schemas.expressions.grammar import DEEPEST, LONGEST, parse
from schemas.expressions.tree import ExpressionError

FIELDS = {
    "loan_amount": Kind.NUMBER,
    "income": Kind.NUMBER,
    "balance": Kind.NUMBER,
    "monthly rate": Kind.NUMBER,
    "status": Kind.TEXT,
    "active": Kind.TRUTH,
}


def fault(text: str) -> str:
    with pytest.raises(ExpressionError) as caught:
        check(parse(text), text, FIELDS)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("loan_amount <= 5 * income", ("income", "loan_amount")),
        ('status != "closed" or balance == 0', ("balance", "status")),
        ("0 <= income < 1e6 and not active", ("active", "income")),
        ("income between -1 and loan_amount", ("income", "loan_amount")),
        ("status in ('open', \"closed\",)", ("status",)),
        ("income not in (1, -2, +3.5)", ("income",)),
        ("status is missing or income is not missing", ("income", "status")),
        ("max(income, balance, 0) >= abs(-`monthly rate`) % 2", ("balance", "income", "monthly rate")),
        ("len(status) < 12", ("status",)),
        ("active == (income > 3)", ("active", "income")),
        ("ACTIVE_ is missing", ("ACTIVE_",)),
        ("income > 1 AND NOT active Or active", ("active", "income")),
    ],
)
def test_what_can_be_written_names_its_fields(text: str, fields: tuple[str, ...]) -> None:
    assert check(parse(text), text, FIELDS | {"ACTIVE_": Kind.TRUTH}) == fields


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ("loan_amont <= 3", "there is no field 'loan_amont': did you mean loan_amount?", 1),
        ("1 < monthlyrate", "did you mean `monthly rate`?", 5),
        ("zzz < 1", "there are loan_amount, income, balance, `monthly rate`, status, active", 1),
        ("income <", "the expression ends too early: a value is missing", 9),
        ("income < < 3", "'<' cannot stand here: a value is missing", 10),
        ("(income < 3", "the expression ends too early", 12),
        ("income < 3)", "')' cannot stand here", 11),
        ("income = 3", "'=' means nothing here: write ==", 8),
        ("active && active", "'&' means nothing here: write and", 8),
        ("income > 3 order", "'order' cannot stand here", 12),
        ("or > 3", "'or' cannot stand here", 1),
        ('status == "open', "the quotation marks are not closed", 11),
        ("income ** 2 > 1", "'*' cannot stand here", 9),
        ("pow(income, 2) > 1", "there is no function 'pow': there are abs, min, max, len", 1),
        ("1e999 < income", "the number is out of range", 1),
        ("", "nothing is written", 1),
        ("income", "this is a number: a rule is a condition", 1),
        (
            "status == 3",
            'this is a number, and what it is compared with is a text; a category is a text: write "3"',
            11,
        ),
        ("income == active", "this is true or false, and what it is compared with is a number", 11),
        ('status < "b"', "< compares numbers, and this is a text", 1),
        ("1 + status > 3", "this is a text: arithmetic needs numbers", 5),
        ("income and active", "this is a number: `and`, `or` and `not` join conditions", 1),
        ("income in ('a')", "this is a text: what is looked for is a number", 12),
        ("active in (1)", "`in` looks for a number or a text", 1),
        ("len(income) > 1", "len counts the characters of a text", 5),
        ("abs(income, 2) > 1", "abs takes one value, not 2", 1),
        ("min(income) > 1", "min takes two values or more", 1),
        ("__import__('os') > 1", "there is no function '__import__'", 1),
        ("income.real > 1", "there is no field 'income.real'", 1),
    ],
)
def test_a_fault_says_what_is_wrong_and_where(text: str, message: str, at: int) -> None:
    told = fault(text)
    assert message in told
    assert f"at character {at}\n" in told


def test_a_caret_stands_under_the_fault() -> None:
    told = fault("income >\n  incom")
    assert told.splitlines()[1:] == ["      incom", "      ^~~~~"]


def test_a_long_expression_is_refused() -> None:
    told = fault("income > 1" + " or income > 1" * (LONGEST // 10))
    assert f"{LONGEST:,} are allowed" in told


def test_a_deep_expression_is_refused_and_a_wide_one_is_not() -> None:
    assert f"{DEEPEST} are allowed" in fault("not " * 200 + "active")
    assert f"{DEEPEST} are allowed" in fault("- " * 400 + "income > 1")
    assert parse("active" + " and active" * 80).depth == 2
    assert parse("1" + "+1" * 400 + " > income").depth == 3


def test_brackets_alone_add_no_depth() -> None:
    assert parse("(" * 400 + "active" + ")" * 400) == parse("active").__class__(400, 406, "active")
