"""Answer retrain requests: train on the rows that are recommended, register in MLflow, let driftline watch the result.

pip install 'driftline[examples]'
MLFLOW_TRACKING_URI=http://mlflow:5000 python examples/subscribers/retrain_with_mlflow.py [SECONDS]

Reads the recommended offsets and the labels that have come for them, trains a classifier on the older three quarters,
registers it, makes the newer quarter the reference of the new version, and acknowledges on ``retrain-acks``. Runs until
Ctrl-C, or until nothing has come for SECONDS.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import mlflow
import pandas as pd
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from sklearn.compose import make_column_selector as selector
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

PREFIX = os.environ.get("DRIFTLINE_TOPIC_PREFIX", "driftline.")
SERVERS = os.environ.get("DRIFTLINE_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
FEWEST_ROWS = 400
"""Labelled rows that a training asks for."""
REQUEST = "driftline.request_id"
"""Tag by which a registered version says which request it answers."""


async def read(topic: str, partition: int, start: int, stop: int) -> list[dict]:
    """Read the events of one partition from an offset to another."""
    events, tp = [], TopicPartition(topic, partition)
    async with AIOKafkaConsumer(bootstrap_servers=SERVERS, enable_auto_commit=False) as consumer:
        consumer.assign([tp])
        consumer.seek(tp, start)
        while await consumer.position(tp) < stop:
            records = (await consumer.getmany(tp, timeout_ms=1_000)).get(tp, [])
            events += [json.loads(record.value) for record in records if record.offset < stop]
    return events


async def labels_since(time: str | None) -> list[dict]:
    """Read the outcomes that were sent since a moment: labels come later than what they are about."""
    topic, moment = PREFIX + "outcomes", int(1_000 * datetime.fromisoformat(time).timestamp()) if time else 0
    async with AIOKafkaConsumer(bootstrap_servers=SERVERS, enable_auto_commit=False) as consumer:
        await consumer._client.force_metadata_update()
        tps = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        starts, ends = await consumer.offsets_for_times(dict.fromkeys(tps, moment)), await consumer.end_offsets(tps)
    found = [await read(topic, tp.partition, starts[tp].offset, ends[tp]) for tp in tps if starts[tp] is not None]
    return [event for events in found for event in events]


async def training_rows(request: dict) -> pd.DataFrame:
    """Rows of the recommended range whose labels have come, in the order of their times."""
    rows, wanted = [], request["training_range"]
    for part in wanted["offsets"]:
        if part["topic"] == PREFIX + "predictions":
            rows += await read(part["topic"], part["partition"], part["from_offset"], part["to_offset"])
    labels = {
        event["prediction_id"]: event["label"]
        for event in await labels_since(wanted["since"])
        if event["model"] == request["model"]
    }
    table = pd.DataFrame(
        {**row["features"], "time": row["time"], "label": str(labels[row["prediction_id"]])}
        for row in rows
        if row["model"] == request["model"] and row.get("prediction_id") in labels
    )
    return table.sort_values("time", ignore_index=True) if len(table) else table


def train(table: pd.DataFrame) -> tuple[Pipeline, pd.DataFrame, float]:
    """Train on the older rows; return the model, the newer rows with its scores, and its AUC on them."""
    features = table.drop(columns=["time", "label"])
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    names = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer(
        (numbers, selector(dtype_include="number")), (names, selector(dtype_exclude="number"))
    )
    cut = 3 * len(table) // 4
    model = make_pipeline(columns, LogisticRegression()).fit(features[:cut], table["label"][:cut] == "1")
    scores = model.predict_proba(features[cut:])[:, 1]
    return model, table[cut:].assign(score=scores), float(roc_auc_score(table["label"][cut:] == "1", scores))


def register(request: dict, model: Pipeline, auc: float, rows: int) -> str:
    """Register the model with its lineage; return the version that it becomes."""
    mlflow.set_experiment(request["model"])
    with mlflow.start_run(run_name=f"retrain {request['id'][:8]}"):
        tags = {
            "replaces": request["version"],
            "spec_hash": request["lineage"]["spec_hash"],
            "reason": request["reason"],
        }
        mlflow.set_tags({f"driftline.{name}": value for name, value in tags.items()} | {REQUEST: request["id"]})
        mlflow.log_dict(request, "retrain-request.json")
        mlflow.log_metrics({"auc": auc, "rows": rows})
        logged = mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn", "pandas"],
                                          serialization_format="cloudpickle")  # fmt: skip
        made = mlflow.register_model(logged.model_uri, request["model"], tags={REQUEST: request["id"]})
    return name_of(made.version)


def watch(request: dict, version: str, reference: pd.DataFrame) -> None:
    """Let driftline watch the new version: its reference is what the model was not trained on."""
    with tempfile.TemporaryDirectory() as folder:
        data, spec = Path(folder) / "reference.csv", Path(folder) / "spec.yaml"
        reference.to_csv(data, index=False)
        driftline("models", "init", "--from", data, "--model", request["model"], "--version", version, "--task",
                  "binary", "--outcomes", "--output", spec)  # fmt: skip
        driftline("models", "apply", spec)


def driftline(*arguments: object) -> None:
    """Run driftline's command line; it is told by the environment where Kafka is."""
    subprocess.run([sys.executable, "-m", "agents.cli", *map(str, arguments)], check=True)  # noqa: S603


def version_for(request: dict) -> str | None:
    """The version that was registered for this request, if there is one: a request may come twice."""
    versions = mlflow.MlflowClient().search_model_versions(f"name = '{request['model']}'")
    return next((name_of(each.version) for each in versions if each.tags.get(REQUEST) == request["id"]), None)


def name_of(mlflow_version: object) -> str:
    """What driftline calls a version of MLflow's."""
    return f"mlflow-{mlflow_version}"


async def answer(request: dict, producer: AIOKafkaProducer) -> None:
    """Train, register, watch, and acknowledge each turn that it takes."""

    async def say(status: str, version: str | None, detail: str) -> None:
        ack = {
            "request_id": request["id"],
            "model": request["model"],
            "status": status,
            "version": version,
            "detail": detail,
        }
        await producer.send_and_wait(PREFIX + "retrain-acks", json.dumps(ack).encode(), key=request["model"].encode())
        print(f"{request['model']} {status}: {detail}", flush=True)

    if (known := await asyncio.to_thread(version_for, request)) is not None:
        await say("succeeded", known, f"request {request['id'][:8]} was answered by {known}")
        return
    await say("started", None, f"reading what request {request['id'][:8]} recommends")
    table = await training_rows(request)
    if len(table) < FEWEST_ROWS:
        await say("failed", None, f"{len(table):,} rows have a label, {FEWEST_ROWS:,} are needed")
        return
    # In a thread: the consumer must go on to say that it is alive.
    model, reference, auc = await asyncio.to_thread(train, table)
    version = await asyncio.to_thread(register, request, model, auc, len(table))
    await asyncio.to_thread(watch, request, version, reference)
    await say("succeeded", version, f"AUC {auc:.3f} on the {len(reference):,} newest of {len(table):,} rows")


async def main(seconds: float | None = None) -> None:
    """Follow the topic."""
    consumer = AIOKafkaConsumer(
        PREFIX + "retrain-requests",
        bootstrap_servers=SERVERS,
        group_id="mlflow",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_interval_ms=3_600_000,  # a training may take an hour
        session_timeout_ms=60_000,
        rebalance_timeout_ms=60_000,
    )
    async with consumer, AIOKafkaProducer(bootstrap_servers=SERVERS) as producer:
        while True:
            runs = await consumer.getmany(timeout_ms=1_000 if seconds is None else int(1_000 * seconds))
            if not runs and seconds is not None:
                return
            for records in runs.values():
                for record in records:
                    await answer(json.loads(record.value), producer)
            await consumer.commit()  # after the work; `version_for` knows a request that comes again


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*map(float, sys.argv[1:])))
