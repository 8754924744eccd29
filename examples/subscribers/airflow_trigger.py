"""Start an Airflow DAG for each retrain request. Needs no Airflow to be read or tested: functions from message to conf.

With the Kafka provider of Airflow, `apply` is the ``apply_function`` of a sensor or a trigger; what it returns is what
``event_triggered_function`` gets::

    AwaitMessageTriggerFunctionSensor(
        task_id="wait_for_retrain_request",
        topics=["driftline.retrain-requests"],
        apply_function="airflow_trigger.apply",
        event_triggered_function=lambda run, **_: TriggerDagRunOperator(
            task_id="retrain", trigger_dag_id=run["dag_id"], trigger_run_id=run["run_id"], conf=run["conf"]
        ).execute({}),
    )

Without it, `runs` is the body of a deferrable trigger: ``async for run in runs(): yield TriggerEvent(run)``.
To see what it gives:

python examples/subscribers/airflow_trigger.py [SECONDS]
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer

TOPIC = os.environ.get("DRIFTLINE_TOPIC_PREFIX", "driftline.") + "retrain-requests"
SERVERS = os.environ.get("DRIFTLINE_BOOTSTRAP_SERVERS", "127.0.0.1:9092")


def dag_run(request: dict[str, Any]) -> dict[str, Any]:
    """Return DAG, run id and conf of a request. The same request is the same run: Airflow refuses a second one."""
    return {
        "dag_id": f"retrain_{request['model']}",
        "run_id": f"driftline__{request['id']}",
        "conf": {
            "model": request["model"],
            "replaces_version": request["version"],
            "reason": request["reason"],
            "urgency": request["urgency"],
            "since": request["training_range"]["since"],
            "until": request["training_range"]["until"],
            "offsets": request["training_range"]["offsets"],
            "request_id": request["id"],
            "incident_id": request["incident_id"],
            "spec_hash": request["lineage"]["spec_hash"],
        },
    }


def apply(message: Any, model: str | None = None) -> dict[str, Any] | None:
    """Turn a message of confluent-kafka's into a run; None, and the sensor waits on, for other models.

    Give ``model`` as one of the sensor's ``apply_function_kwargs``.
    """
    request = json.loads(message.value())
    return dag_run(request) if model in (None, request["model"]) else None


async def runs(group: str = "airflow", seconds: float | None = None) -> AsyncIterator[dict[str, Any]]:
    """Yield a run for each request, for ever, or until nothing has come for ``seconds``.

    The offset is committed when the next one is asked for, that is after Airflow has stored the run.
    """
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=SERVERS, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    )
    async with consumer:
        while True:
            try:
                record = await asyncio.wait_for(consumer.getone(), seconds)
            except TimeoutError:
                return
            yield dag_run(json.loads(record.value))
            await consumer.commit()


async def main(seconds: float | None = None) -> None:
    """Print the runs."""
    async for run in runs(seconds=seconds):
        print(json.dumps(run), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*map(float, sys.argv[1:])))
