"""Reads topics as they lie on the broker, with a client of its own: the oracle uses nothing of the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

Place = tuple[str, int]
"""Topic, as on the broker, and partition."""

_READ_WITHIN_S: Final = 120.0


async def read(
    servers: str, topic: str, start: Mapping[int, int] | None = None
) -> tuple[dict[int, list[ConsumerRecord]], dict[int, int]]:
    """Read a topic up to its present end.

    Parameters
    ----------
    start
        Where to begin, by partition; missing: with the oldest record.

    Returns
    -------
    records
        By partition, in the order of the log.
    ends
        By partition, the offset that the next record gets.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id=None, auto_offset_reset="earliest",
                                isolation_level="read_committed")  # fmt: skip
    await consumer.start()
    try:
        async with asyncio.timeout(_READ_WITHIN_S):
            cluster = await consumer._client.fetch_all_metadata()
            tps = [TopicPartition(topic, number) for number in sorted(cluster.partitions_for_topic(topic) or ())]
            consumer.assign(tps)
            begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
            for tp in tps:
                consumer.seek(tp, max(begins[tp], (start or {}).get(tp.partition, 0)))
            found: dict[int, list[ConsumerRecord]] = {tp.partition: [] for tp in tps}
            for tp in tps:
                while await consumer.position(tp) < ends[tp]:
                    batches = await consumer.getmany(timeout_ms=250)
                    for of, records in batches.items():
                        found[of.partition] += [record for record in records if record.offset < ends[of]]
            return found, {tp.partition: ends[tp] for tp in tps}
    except TimeoutError:
        raise TimeoutError(f"{topic} was not read to its end within {_READ_WITHIN_S:g} s") from None
    finally:
        await consumer.stop()
