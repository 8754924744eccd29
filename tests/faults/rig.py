"""A broker of the faults' own, since they kill it, with two ways to it that lead through proxies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agents.broker import free_port
from tests.faults.trial import PRODUCERS_DETOUR, WORKERS_DETOUR, Rig
from tests.support.kafka import ApacheKafka


@contextmanager
def running_rig() -> Iterator[Rig]:
    """Start Apache Kafka, and stop it at the end of the block."""
    proxies = {detour: free_port() for detour in (WORKERS_DETOUR, PRODUCERS_DETOUR)}
    with ApacheKafka(detours=proxies) as kafka:
        yield Rig(kafka, proxies)
