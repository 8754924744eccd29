"""Producing to a broker in tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from agents.settings import Settings
from agents.topics import admin, wait_for_leaders


async def make_topic(
    settings: Settings, name: str, partitions: int = 2, config: Mapping[str, str] | None = None
) -> str:
    """Create a topic, and return its name with the test's prefix."""
    full_name = settings.topic(name)
    async with admin(settings) as client:
        response = await client.create_topics([NewTopic(full_name, partitions, 1, topic_configs=dict(config or {}))])
        for _, code, message in response.topic_errors:
            assert code == 0, message
        await wait_for_leaders(client, {full_name: partitions}, settings.request_timeout_s)
    return full_name


class Headed(NamedTuple):
    """A record with headers, for `produce`."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


async def produce(
    settings: Settings,
    topic: str,
    records: Iterable[tuple[bytes | None, bytes | None] | Headed],
    partition: int = 0,
    *,
    transactional_id: str | None = None,
    abort: bool = False,
) -> list[int]:
    """Produce keys and values to a partition, in order; return their offsets."""
    producer = AIOKafkaProducer(
        **settings.client_options(),
        max_batch_size=262_144,
        max_request_size=settings.max_request_bytes,
        transactional_id=transactional_id,
    )
    await producer.start()
    try:
        if transactional_id:
            await producer.begin_transaction()
        futures = [
            await producer.send(topic, value, key=key, partition=partition, headers=headers[0] if headers else None)
            for key, value, *headers in records
        ]
        offsets = [(await future).offset for future in futures]
        if transactional_id:
            await (producer.abort_transaction() if abort else producer.commit_transaction())
        return offsets
    finally:
        await producer.stop()


def numbered(count: int, first: int = 0, size: int = 100) -> list[tuple[bytes | None, bytes | None]]:
    """Return records that carry their number, so that a test sees what is missing or came twice."""
    return [(None, str(number).encode().ljust(size)) for number in range(first, first + count)]
