"""Apache Kafka for whoever breaks things: with two ways to it that lead through proxies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from agents.broker import free_port
from tests.support.kafka import ApacheKafka

WORKERS_DETOUR: Final = "WORKERS"
PRODUCERS_DETOUR: Final = "PRODUCERS"


@dataclass(frozen=True, slots=True)
class Rig:
    """A broker that stays for many trials, and the ports of the proxies before it."""

    kafka: ApacheKafka
    proxies: Mapping[str, int]


@contextmanager
def running_rig() -> Iterator[Rig]:
    """Start Apache Kafka, and stop it at the end of the block."""
    proxies = {detour: free_port() for detour in (WORKERS_DETOUR, PRODUCERS_DETOUR)}
    with ApacheKafka(detours=proxies) as kafka:
        yield Rig(kafka, proxies)
