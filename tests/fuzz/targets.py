"""What is fuzzed: each target takes bytes and raises if driftline does what it must not.

Allowed is one of two things: the input is read, or there is an error of the expected kind that says why not. Not
allowed are any other exception, and results larger than the input can account for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from agents.formats.batches import SPARSEST
from agents.formats.decoded import DecodedRun
from agents.spec_file import SpecFileError, parse_spec
from detector.rows import Source
from detector.rules.book import RuleBook
from schemas.expressions.checking import Kind, check
from schemas.expressions.grammar import DEEPEST, LONGEST, parse
from schemas.expressions.tree import ExpressionError
from schemas.model_spec import FeatureSpec, ModelSpec, OnInvalid
from tests.support.data import numbers, spec_of
from tests.support.decoding import decoder_for, run_of

NEXT_RECORD: Final = b"\n\x1e"
"""Between the records of a run."""

_FEATURES: Final = (
    *numbers("a", "b"),
    FeatureSpec(name="c", type="category", max_length=8),
    FeatureSpec(name="d", type="boolean"),
)
_RULES: Final = (
    {"name": "ratio", "expression": "a <= 5 * b or c is missing"},
    {"name": "closed", "expression": 'c != "closed" or a / b > 0 or d'},
)
SPECS: Final = (
    spec_of(
        *_FEATURES, rules=_RULES, prediction={"output": "score"}, outcomes={}, service={},
        segments={"fields": ["c", "country"], "pairs": [["c", "country"]]},
    ),
    spec_of(*_FEATURES, rules=_RULES, prediction={"output": "class"}, task="multiclass", version="2", outcomes={}),
    spec_of(
        *(each.model_copy(update={"on_invalid": OnInvalid.ROW, "required": True}) for each in _FEATURES),
        version="3", rules=_RULES, features_from="features", prediction={"output": "number"}, task="regression",
    ),
)  # fmt: skip
"""Versions 1, 2 and 3 of the model ``m``."""
_BOOKS: Final = {spec.version: RuleBook(spec) for spec in SPECS}
_FIELDS: Final = {"a": Kind.NUMBER, "b c": Kind.NUMBER, "s": Kind.TEXT, "p": Kind.TRUTH}


def decode_events(data: bytes) -> None:
    """Decode a run of records as each of the three streams, and ask the rules of what comes of it."""
    records = data.split(NEXT_RECORD)
    decoder = decoder_for(*SPECS)
    for source in Source:
        decoded = decoder.decode(run_of(*records), source)
        _account_for(decoded, records)
        for registration, rows in decoded.rows:
            for verdicts in _BOOKS[registration.spec.version].ask(rows):
                if verdicts is not None and (verdicts.broken & verdicts.kept).any():
                    raise AssertionError("a rule is broken and kept at once")


def _account_for(decoded: DecodedRun, records: list[bytes]) -> None:
    """Every record is refused, or somebody's, or of rows whose columns fit together and fit the record's size."""
    letters = [letter.origin.offset for letter in decoded.letters]
    if letters != sorted(set(letters)):
        raise AssertionError("dead letters out of order, or two of one record")
    for registration, rows in decoded.rows:
        signals = len(registration.spec.signals)
        lengths = {len(column) for column in (*rows.columns, *(rows.context or ())) if column is not None}
        if lengths - {len(rows)} or not len(rows) == len(rows.times) == len(rows.stages):
            raise AssertionError("columns of different lengths")
        if (np.diff(rows.offsets) < 0).any() or not np.isfinite(rows.times).all():
            raise AssertionError("rows out of order, or without a time")
        if len(rows) > sum(1 + SPARSEST * len(record) // max(signals, 1) for record in records):
            raise AssertionError("more rows than the records have room for")


def read_expression(data: bytes) -> None:
    """Read an expression and find its types."""
    text = data.decode(errors="replace")
    try:
        node = parse(text)
        check(node, text, _FIELDS)
    except ExpressionError as error:
        if not 0 <= error.start <= min(len(text), LONGEST):
            raise AssertionError("a fault outside the text") from error
        return
    if node.depth > DEEPEST:
        raise AssertionError("too deep")


def read_spec_file(data: bytes) -> None:
    """Read a spec file."""
    try:
        spec = parse_spec(data.decode(errors="replace"), "spec.yaml")
    except SpecFileError:
        return
    if ModelSpec.model_validate_json(spec.model_dump_json()).hash != spec.hash:
        raise AssertionError("a spec that travels is another one")


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "events": decode_events,
    "expressions": read_expression,
    "specs": read_spec_file,
}
"""To add one: a function above, a row here, and a folder of seeds of that name in ``seeds.py``."""
