"""JSON Schemas of all events, and where their golden examples are.

What others send is described as it is read; what driftline sends as it is written, with every field there. The latter
do not forbid further fields, since minor versions may add some; a model spec does, since people write it.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from schemas.inbound import FeatureBatch, FeatureEvent, OutcomeBatch, OutcomeEvent, PredictionBatch, PredictionEvent
from schemas.model_spec import ModelSpec
from schemas.outbound import DeadLetter, DriftEvent, ModelStatus
from schemas.profiles import BaselineRows, ProfileTotal, UnregisteredRows
from schemas.responses import Alert, Digest, MaintenanceNotice, ResponseEvent, RetrainAck, RetrainRequest
from schemas.schema_changes import SchemaChange

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def file_name(event: str) -> str:
    """Name of the files of an event: ``DriftEvent`` is in ``drift-event.json``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", event).lower() + ".json"


def json_schema(event: str) -> dict[str, Any]:
    """JSON Schema of the event of that name.

    Raises
    ------
    KeyError
        If there is no such event.
    """
    kind = EVENTS[event]
    if kind in _READ:
        schema = kind.model_json_schema(mode="validation")
    elif kind is ModelSpec:
        schema = kind.model_json_schema(mode="serialization")
    else:
        schema = kind.model_json_schema(mode="serialization", schema_generator=_AsWritten)
        _tolerate_more_fields(schema)
    return {"$schema": DIALECT, **schema}


def example(event: str) -> str:
    """Golden example of the event of that name, as JSON.

    Raises
    ------
    KeyError
        If there is no such event.
    """
    EVENTS[event]
    return (files("schemas") / "examples" / file_name(event)).read_text(encoding="utf-8")


def export(folder: Path) -> list[Path]:
    """Write the JSON Schema of each event into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for event in EVENTS:
        path = folder / file_name(event)
        path.write_text(json.dumps(json_schema(event), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written


class _AsWritten(GenerateJsonSchema):
    """Every field is there, also those with a default: ``codec.encode`` writes nulls too."""

    def field_is_required(self, *_field: Any, **_options: Any) -> bool:
        return True


def _tolerate_more_fields(schema: Any) -> None:
    """Take ``additionalProperties: false`` out of a schema, in place."""
    if isinstance(schema, dict):
        if schema.get("additionalProperties") is False:
            del schema["additionalProperties"]
        for part in schema.values():
            _tolerate_more_fields(part)
    elif isinstance(schema, list):
        for part in schema:
            _tolerate_more_fields(part)


_READ: Final = (
    FeatureEvent,
    FeatureBatch,
    PredictionEvent,
    PredictionBatch,
    OutcomeEvent,
    OutcomeBatch,
    RetrainAck,
    MaintenanceNotice,
)

EVENTS: Final[dict[str, type[BaseModel]]] = {
    "FeatureEvent": FeatureEvent,
    "FeatureBatch": FeatureBatch,
    "PredictionEvent": PredictionEvent,
    "PredictionBatch": PredictionBatch,
    "OutcomeEvent": OutcomeEvent,
    "OutcomeBatch": OutcomeBatch,
    "ModelSpec": ModelSpec,
    "ProfileTotal": ProfileTotal,
    "BaselineRows": BaselineRows,
    "UnregisteredRows": UnregisteredRows,
    "DriftEvent": DriftEvent,
    "ResponseEvent": ResponseEvent,
    "SchemaChange": SchemaChange,
    "RetrainRequest": RetrainRequest,
    "RetrainAck": RetrainAck,
    "MaintenanceNotice": MaintenanceNotice,
    "Alert": Alert,
    "Digest": Digest,
    "ModelStatus": ModelStatus,
    "DeadLetter": DeadLetter,
}
"""Everything that travels, by the names of the table of topics."""
