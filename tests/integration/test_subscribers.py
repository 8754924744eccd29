"""The subscribers among the examples do their work against a broker."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from agents.registry import Registry
from agents.settings import Settings
from agents.topics import ensure_topics
from schemas import codec
from schemas.model_spec import OffsetRange
from schemas.outbound import Change, DriftEvent, IncidentStatus, Tier
from schemas.responses import RetrainRequest
from tests.support.drift_events import START, drift_event
from tests.support.produce import produce
from tests.support.profiling import read_all
from tests.support.responses import request_for

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "subscribers"
QUIET_S = 1.0
"""The examples end when nothing has come for so long."""
ROWS = 1_200

pytestmark = pytest.mark.parametrize(
    "broker", [pytest.param("embedded_broker", marks=pytest.mark.integration)], indirect=True
)
Load = Callable[[str], ModuleType]


@pytest.fixture
async def topics(settings: Settings) -> Settings:
    await ensure_topics(settings)
    return settings


@pytest.fixture
def load(topics: Settings, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load an example as a person would start it: told by the environment where Kafka is."""
    monkeypatch.setenv("DRIFTLINE_BOOTSTRAP_SERVERS", topics.bootstrap_servers)
    monkeypatch.setenv("DRIFTLINE_TOPIC_PREFIX", topics.topic_prefix)

    def loaded(name: str) -> ModuleType:
        found = importlib.util.spec_from_file_location(f"subscriber_{name}", EXAMPLES / f"{name}.py")
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module

    return loaded


async def tell(settings: Settings, topic: str, *events: DriftEvent | RetrainRequest) -> None:
    await produce(settings, settings.topic(topic), [(event.model.encode(), codec.encode(event)) for event in events])


def request(settings: Settings, **fields: Any) -> RetrainRequest:
    """The request that the response agent makes of a significant incident."""
    offsets = (OffsetRange(topic=settings.topic("predictions"), partition=0, from_offset=100, to_offset=100 + ROWS),)
    event = drift_event(**({"since": START, "since_offsets": offsets} | fields))
    made = request_for(event)
    return made.model_copy(update={"training_range": made.training_range.model_copy(update={"offsets": offsets})})


# ----------------------------------------------------------------------------------------------- a plain consumer


async def test_each_tier_becomes_its_action_once_also_after_a_restart(
    topics: Settings, load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    life = [
        drift_event(tier=Tier.MINOR, owner="risk"),
        drift_event(hours=1, tier=Tier.MODERATE, change=Change.ESCALATED),
        drift_event(hours=2, change=Change.ESCALATED),
        drift_event(hours=3, tier=Tier.NONE, change=Change.RESOLVED, status=IncidentStatus.RESOLVED),
    ]
    await tell(topics, "drift-events", *life, life[1])
    database = str(tmp_path / "done.db")
    await load("act_on_tiers").main(database, str(QUIET_S))
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["note", "ticket", "page", "close"]
    assert said[0] == f"note for risk: {life[0].summary}"

    await tell(topics, "drift-events", life[2])
    await load("act_on_tiers").main(database, str(QUIET_S))
    assert capsys.readouterr().out == ""


# -------------------------------------------------------------------------------------------------------- Airflow


class Message:
    """A record as confluent-kafka, and so Airflow's Kafka provider, hands it over."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self) -> bytes:
        return self._value


async def test_a_request_that_comes_twice_is_one_run_of_the_dag(topics: Settings, load: Load) -> None:
    asked = request(topics)
    await tell(topics, "retrain-requests", asked, asked)
    runs = [run async for run in load("airflow_trigger").runs(seconds=QUIET_S)]
    assert len(runs) == 2
    assert {run["run_id"] for run in runs} == {f"driftline__{asked.id}"}
    assert runs[0]["dag_id"] == "retrain_fraud"
    assert runs[0]["conf"]["offsets"] == [each.model_dump() for each in asked.training_range.offsets]
    assert json.loads(json.dumps(runs[0]["conf"])) == runs[0]["conf"]


async def test_the_function_for_the_sensor_waits_for_its_model(topics: Settings, load: Load) -> None:
    await tell(topics, "retrain-requests", request(topics), request(topics, model="churn"))
    messages = [Message(record.value or b"") for record in await read_all(topics, "retrain-requests")]
    found = [load("airflow_trigger").apply(message, model="churn") for message in messages]
    assert [run and run["conf"]["model"] for run in found] == [None, "churn"]


# ----------------------------------------------------------------------------------------------------------- Argo


async def test_the_argo_sensor_fills_its_workflow_from_a_request(topics: Settings) -> None:
    source, sensor = (
        yaml.safe_load((EXAMPLES / "argo" / f"{name}.yaml").read_text()) for name in ("event-source", "sensor")
    )
    asked = request(topics, model="churn")
    await tell(topics, "retrain-requests", request(topics), asked)
    (dependency,), (trigger,) = sensor["spec"]["dependencies"], sensor["spec"]["triggers"]
    kafka = source["spec"]["kafka"][dependency["eventName"]]
    assert source["metadata"]["name"] == dependency["eventSourceName"]
    assert kafka["topic"].removeprefix("driftline.") == "retrain-requests"

    # What the event source makes of a record: https://argoproj.github.io/argo-events/eventsources/setup/kafka/
    found = [{"body": json.loads(record.value or b"")} for record in await read_all(topics, "retrain-requests")]
    passed = [
        data for data in found if all(at(data, each["path"]) in each["value"] for each in dependency["filters"]["data"])
    ]
    assert [data["body"]["id"] for data in passed] == [asked.id]

    k8s = trigger["template"]["k8s"]
    workflow = k8s["source"]["resource"]
    for parameter in k8s["parameters"]:
        assert parameter["src"]["dependencyName"] == dependency["name"]
        put(workflow, parameter["dest"], at(passed[0], parameter["src"]["dataKey"]), parameter.get("operation"))
    assert workflow["metadata"]["name"] == f"retrain-{asked.id}"
    filled = {each["name"]: each["value"] for each in workflow["spec"]["arguments"]["parameters"]}
    assert filled["replaces-version"] == "1"
    assert filled["reason"] == asked.reason
    assert filled["training-range"]["offsets"] == [each.model_dump() for each in asked.training_range.offsets]


def at(data: Any, path: str) -> Any:
    """The value at a path of keys and indices, separated by dots."""
    for key in path.split("."):
        data = data[int(key)] if isinstance(data, list) else data[key]
    return data


def put(data: Any, path: str, value: Any, operation: str | None) -> None:
    """Overwrite the value at a path, or append to it."""
    *way, last = path.split(".")
    for key in way:
        data = data[int(key)] if isinstance(data, list) else data[key]
    data[last] = data[last] + value if operation == "append" else value


# --------------------------------------------------------------------------------------------------------- MLflow


@pytest.mark.slow
async def test_a_model_is_trained_registered_and_watched_on_request(
    topics: Settings,
    load: Load,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mlflow = pytest.importorskip("mlflow") if os.environ.get("CI") != "true" else importlib.import_module("mlflow")
    for name, value in {
        "MLFLOW_TRACKING_URI": (tmp_path / "runs").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }.items():
        monkeypatch.setenv(name, value)
    await produce(
        topics, topics.topic("predictions"), [(None, json.dumps(answer(row)).encode()) for row in range(ROWS + 200)]
    )
    await produce(topics, topics.topic("outcomes"), [(None, json.dumps(label(row)).encode()) for row in range(ROWS)], 1)
    asked = request(topics)
    await tell(topics, "retrain-requests", asked, asked)

    await load("retrain_with_mlflow").main(2 * QUIET_S)
    acks = [json.loads(record.value or b"") for record in await read_all(topics, "retrain-acks")]
    assert {ack["request_id"] for ack in acks} == {asked.id}
    assert [(ack["status"], ack["version"]) for ack in acks] == [
        ("started", None),
        ("succeeded", "mlflow-1"),
        ("succeeded", "mlflow-1"),
    ]
    assert acks[1]["detail"].startswith("AUC 0.")

    client = mlflow.MlflowClient()
    (version,) = client.search_model_versions("name = 'fraud'")
    assert version.tags["driftline.request_id"] == asked.id
    run = client.get_run(version.run_id)
    assert run.data.metrics["rows"] == ROWS - 100  # of the range, those with a label
    assert run.data.metrics["auc"] > 0.75
    async with Registry(topics) as registry:
        watched = registry.lookup("fraud", "mlflow-1")
    assert watched is not None
    assert watched.spec.reference.frozen is not None
    assert watched.spec.reference.frozen.rows == (ROWS - 100) // 4
    assert {feature.name for feature in watched.spec.features} == {"amount", "country"}


RNG = np.random.default_rng(5)
AMOUNTS = RNG.normal(size=ROWS + 200)
COUNTRIES = RNG.choice(["DE", "FR"], ROWS + 200)
TRUTH = RNG.random(ROWS + 200) < 1 / (1 + np.exp(-2 * AMOUNTS - (COUNTRIES == "DE")))


def answer(row: int) -> dict[str, Any]:
    return {
        "model": "fraud",
        "version": "1",
        "prediction_id": f"p{row}",
        "time": (START + timedelta(minutes=row)).isoformat(),
        "features": {"amount": round(float(AMOUNTS[row]), 6), "country": str(COUNTRIES[row])},
        "score": 0.5,
    }


def label(row: int) -> dict[str, Any]:
    return {
        "model": "fraud",
        "prediction_id": f"p{row}",
        "time": (START + timedelta(minutes=row, hours=1)).isoformat(),
        "label": "1" if TRUTH[row] else "0",
    }
