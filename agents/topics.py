"""Make the topics that are missing, and check those that are there, before anything else starts."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from agents.errors import BrokerError, TopicError
from agents.settings import Settings
from schemas.topics import TOPICS, Cleanup, TopicSpec

_COMPACTED_SEGMENT_BYTES: Final = 64 * 1_048_576
"""Only closed segments are compacted, so small ones keep what a restart must read short."""
_DIRTY_RATIO: Final = 0.2
_CONNECT_WITHIN_S: Final = 3.0


async def ensure_topics(settings: Settings, specs: Iterable[TopicSpec] = TOPICS.values()) -> dict[str, int]:
    """Create the topics that are missing and check the others.

    Returns
    -------
    dict
        Partitions of each topic, by its name in the table (without the prefix).

    Raises
    ------
    BrokerError
        No broker answers, or it refuses to create a topic.
    TopicError
        A topic has a number of partitions, or a cleanup policy, with which the worker would count wrongly.
    """
    wanted = {spec.name: spec for spec in specs}
    async with admin(settings) as client:
        found = await _found(client, settings, wanted)
        missing = {name: _partitions(spec, settings, found) for name, spec in wanted.items() if name not in found}
        if missing:
            await _create(client, settings, [(wanted[name], count) for name, count in missing.items()])
            created = {settings.topic(name): count for name, count in missing.items()}
            await wait_for_leaders(client, created, settings.request_timeout_s)
            found = await _found(client, settings, wanted)
        _check_counts(settings, wanted, found)
        await _check_cleanup(client, settings, [wanted[name] for name in wanted if name not in missing])
    return found


@asynccontextmanager
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Connect for administration.

    Raises
    ------
    BrokerError
        No broker answers.
    """
    client = AIOKafkaAdminClient(**settings.client_options())
    try:
        try:
            async with asyncio.timeout(settings.request_timeout_s):
                await client.start()
        except (KafkaError, OSError, TimeoutError):
            reason = await _why_no_answer(settings)
            raise BrokerError(f"no Kafka broker answers at {settings.bootstrap_servers}: {reason}") from None
        yield client
    finally:
        await client.close()


async def _why_no_answer(settings: Settings) -> str:
    """Tell a broker that is not there from one that does not want us."""
    for server in settings.servers:
        host, _, port = server.rpartition(":")
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except TimeoutError:
            reason = f"no connection within {_CONNECT_WITHIN_S:g} s, is a firewall between?"
        except OSError as error:
            number = error.errno or 0  # negative where the name of the host is not known
            reason = os.strerror(number) if number > 0 else str(error.strerror or error)
        else:
            writer.close()
            return (
                f"{server} accepts connections but not ours: check DRIFTLINE_SECURITY_PROTOCOL "
                f"({settings.security_protocol}), the certificates, and the user and password"
            )
    return reason


async def _found(client: AIOKafkaAdminClient, settings: Settings, wanted: Iterable[str]) -> dict[str, int]:
    counts = await partition_counts(client)
    return {name: counts[settings.topic(name)] for name in wanted if settings.topic(name) in counts}


def _partitions(spec: TopicSpec, settings: Settings, found: Mapping[str, int]) -> int:
    """How many partitions a topic is created with."""
    if spec.same_partitions_as is not None:
        model = TOPICS[spec.same_partitions_as]
        return found.get(model.name) or _partitions(model, settings, found)
    return settings.partitions if spec.partitions is None else spec.partitions


def _config(spec: TopicSpec) -> dict[str, str]:
    config = {
        "cleanup.policy": spec.cleanup.value,
        "retention.ms": "-1" if spec.retention is None else str(int(spec.retention.total_seconds() * 1_000)),
        "max.message.bytes": str(spec.max_message_bytes),
    }
    if spec.cleanup is Cleanup.COMPACT:
        config["segment.bytes"] = str(_COMPACTED_SEGMENT_BYTES)
        config["min.cleanable.dirty.ratio"] = str(_DIRTY_RATIO)
    return config


async def _create(client: AIOKafkaAdminClient, settings: Settings, topics: Iterable[tuple[TopicSpec, int]]) -> None:
    request = [
        # An empty assignment lets the client accept a replication factor of -1, which means the broker's own default.
        NewTopic(
            settings.topic(spec.name),
            partitions,
            settings.replication_factor,
            replica_assignments={} if settings.replication_factor == -1 else None,
            topic_configs=_config(spec),
        )
        for spec, partitions in topics
    ]
    try:
        response = await client.create_topics(request)
    except (KafkaError, TimeoutError) as error:
        raise BrokerError(f"the topics cannot be created: {error!r}") from None
    for name, code, message in response.topic_errors:
        kind = for_code(code)
        if code and kind is not TopicAlreadyExistsError:  # another worker may have been quicker
            raise BrokerError(f"topic {name} cannot be created: {message or kind.__name__}")


async def partition_counts(client: AIOKafkaAdminClient, *, led: bool = False) -> dict[str, int]:
    """Partitions of every topic on the broker, by full name; ``led``: only partitions that can be used already.

    Raises
    ------
    BrokerError
        The broker does not answer.
    """
    try:
        topics = await client.describe_topics(None)
    except (KafkaError, TimeoutError) as error:
        raise BrokerError(f"the broker does not list its topics: {error!r}") from None
    return {
        topic["topic"]: sum(not led or partition["leader"] >= 0 for partition in topic["partitions"])
        for topic in topics
        if topic["error_code"] == 0
    }


async def wait_for_leaders(client: AIOKafkaAdminClient, created: Mapping[str, int], within_s: float) -> None:
    """Wait until the partitions of topics just created, given by full name, can be used.

    Raises
    ------
    BrokerError
        They have no leaders in time.
    """
    deadline = time.monotonic() + within_s
    while True:
        usable = await partition_counts(client, led=True)
        late = [name for name, partitions in created.items() if usable.get(name, 0) < partitions]
        if not late:
            return
        if time.monotonic() > deadline:
            raise BrokerError(f"topic {late[0]} was created, but has no leaders yet: try again")
        await asyncio.sleep(0.05)


def _check_counts(settings: Settings, wanted: Mapping[str, TopicSpec], found: Mapping[str, int]) -> None:
    for name, spec in wanted.items():
        full_name, count = settings.topic(name), found[name]
        model = spec.same_partitions_as
        if model is not None and count != found.get(model, count):
            raise TopicError(
                f"topic {full_name} has {count} partitions and {settings.topic(model)} has {found[model]}: "
                f"they must be the same; add partitions to the smaller one"
            )
        if spec.cleanup is Cleanup.COMPACT and spec.partitions == 1 and count != 1:
            raise TopicError(
                f"topic {full_name} has {count} partitions and must have 1, since its order counts: "
                f"delete it or choose another DRIFTLINE_TOPIC_PREFIX"
            )


async def _check_cleanup(client: AIOKafkaAdminClient, settings: Settings, specs: Iterable[TopicSpec]) -> None:
    """Refuse topics made by others whose old records the broker would delete although driftline needs them."""
    compacted = [settings.topic(spec.name) for spec in specs if spec.cleanup is Cleanup.COMPACT]
    if not compacted:
        return
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, {"cleanup.policy": ""}) for name in compacted]
    for response in await client.describe_configs(resources):
        for code, _, _, name, entries, *_ in response.resources:
            policy = next((entry[1] for entry in entries if entry[0] == "cleanup.policy"), None)
            if code == 0 and policy is not None and Cleanup.COMPACT not in policy.split(","):
                raise TopicError(f"topic {name} has cleanup.policy={policy} and must have compact: change it")
