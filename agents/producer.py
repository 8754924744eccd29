"""Produce idempotently, and wait for the broker's acknowledgement before anything that depends on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import RecordMetadata
from faust.exceptions import NotReady
from faust.transport.drivers import aiokafka as driver

from agents.errors import DeliveryError
from agents.failpoints import Place, failpoint

if TYPE_CHECKING:
    from agents.app import DriftlineApp
    from agents.settings import Settings

PRODUCER_BATCH_BYTES: Final = 524_288
"""Records that go to one partition at the same time share a request; below any topic's limit, which is on batches."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be produced."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    """None: chosen by the key, as every Kafka client does (murmur2)."""
    timestamp_ms: int | None = None
    headers: Sequence[tuple[str, bytes]] = ()


class IdempotentProducer(driver.Producer):
    """Faust's producer, idempotent, with deliveries that are awaited."""

    @property
    def settings(self) -> Settings:
        """The settings of the app."""
        return cast("DriftlineApp", self.app).settings

    def _new_producer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        if transactional_id is not None:
            raise NotImplementedError("driftline needs no transactions: totals make repeats harmless")
        return AIOKafkaProducer(
            **self.settings.client_options(),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=PRODUCER_BATCH_BYTES,
            max_request_size=self.settings.max_request_bytes,
            partitioner=DefaultPartitioner(),
        )

    async def partitions(self, topic: str) -> int:
        """Partitions that a topic has.

        Raises
        ------
        DeliveryError
            The broker does not say, or the app is ending.
        """
        try:
            return len(await self._ensure_producer().partitions_for(topic))
        except KafkaError as error:
            raise DeliveryError(f"topic {topic} cannot be found: {error!r}") from error
        except NotReady as error:
            raise DeliveryError("the producer has stopped") from error

    async def deliver(self, records: Iterable[Outgoing], timeout_s: float | None = None) -> list[RecordMetadata]:
        """Produce records and wait until the broker has acknowledged all of them.

        Parameters
        ----------
        records
            What to produce; those of one partition keep their order.
        timeout_s
            None: the request timeout. An idempotent producer goes on trying, so a record may still arrive
            after a timeout.

        Raises
        ------
        DeliveryError
            A record was refused (too large, no permission) or not acknowledged in time, or the app is ending.
        """
        limit = self.settings.request_timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit):
                sent = [await self._queue(record) for record in records]
                failpoint(Place.SENT)
                return list(await asyncio.gather(*sent))
        except TimeoutError:
            raise DeliveryError(f"records were not acknowledged within {limit:g} s") from None
        except KafkaError as error:
            raise DeliveryError(f"the broker refused a record: {error!r}") from error
        except NotReady as error:
            raise DeliveryError("the producer has stopped") from error

    async def _queue(self, record: Outgoing) -> asyncio.Future[RecordMetadata]:
        return await self._ensure_producer().send(
            record.topic,
            record.value,
            key=record.key,
            partition=record.partition,
            timestamp_ms=record.timestamp_ms,
            headers=list(record.headers),
        )
