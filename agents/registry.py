"""Which spec is in force for each model version: read from the ``models`` topic without a group, and followed.

The rules, which every reader of the topic applies alike:

1. Of several specs of a version the one with the lowest offset is in force; the others are refused and reported.
2. A spec that asks for its reference from the stream is superseded, once, by the first one (lowest offset) that
   differs from it in nothing but the frozen reference and names its hash as ``declared``.
3. A tombstone for model/version/hash takes that spec away, as compaction will.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from pydantic import ValidationError

from agents.errors import BrokerError, DeliveryError, OperatorError
from agents.log_reader import LogReader
from agents.seals import seal_of
from agents.statelog import open_record, report_damage
from agents.tasks import end_tasks
from detector.layout import Layout
from detector.reference_rows import decode_reference
from detector.state import StateError
from schemas import codec
from schemas.model_spec import ModelSpec
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from agents.metrics import Metrics
    from agents.settings import Settings

SOURCE: Final = "/driftline/registry"

log = structlog.get_logger(__name__)


class SpecConflictError(OperatorError):
    """Another spec of the same model version is registered already."""


@dataclass(frozen=True, slots=True)
class Registration:
    """The spec in force for a model version."""

    spec: ModelSpec
    layout: Layout | None
    """None while the reference is being collected from the stream."""
    offset: int
    """Of the spec's record on the ``models`` topic."""
    declared_hash: str
    """Hash of the spec that was registered: the spec's own, unless its reference came from the stream."""
    refused: tuple[str, ...] = ()
    """Hashes of other specs that came later."""

    @property
    def spec_hash(self) -> str:
        """Hash of the spec; to make it of the spec itself takes a millisecond."""
        return self.declared_hash if self.layout is None else self.layout.spec_hash


@dataclass(slots=True)
class _Version:
    """All specs that were published for one model version, by hash, with the lowest offset of each."""

    specs: dict[str, tuple[int, ModelSpec]] = field(default_factory=dict)

    def in_force(self, before: Registration | None) -> Registration | None:
        """Apply the rules; None when no spec is left. The layout is made once."""
        if not self.specs:
            return None
        parents = {hash_: _declared(spec) for hash_, (_, spec) in self.specs.items()}
        roots = [hash_ for hash_, parent in parents.items() if parent == hash_] or list(self.specs)
        winner = min(roots, key=self._offset)
        heirs = [hash_ for hash_, parent in parents.items() if parent == winner != hash_]
        chosen = min(heirs, key=self._offset, default=winner)
        offset, spec = self.specs[chosen]
        return Registration(
            spec=spec,
            layout=before.layout if before is not None and before.spec is spec else _layout(spec),
            offset=offset,
            declared_hash=winner,
            refused=tuple(sorted(set(self.specs) - {winner, *heirs}, key=self._offset)),
        )

    def _offset(self, hash_: str) -> int:
        return self.specs[hash_][0]


def _layout(spec: ModelSpec) -> Layout | None:
    """Make the layout of a spec with a reference; raise ValueError where the reference is damaged."""
    if spec.reference.frozen is None:
        return None
    layout = Layout(spec)
    layout.reference()
    for sample in spec.reference.frozen.sample or ():
        decode_reference(layout, sample)
    return layout


def _declared(spec: ModelSpec) -> str:
    """Hash of the spec from which this one differs by its frozen reference alone; its own hash if there is none."""
    if spec.reference.frozen is None or spec.reference.frozen.declared is None:
        return spec.hash
    origin = spec.model_copy(update={"reference": spec.reference.model_copy(update={"frozen": None})}).hash
    return origin if origin == spec.reference.frozen.declared else spec.hash


class Registry:
    """All model versions, kept up to date by a task of its own.

    Parameters
    ----------
    settings
        Where the broker is.
    metrics
        None for command-line use.
    """

    def __init__(self, settings: Settings, metrics: Metrics | None = None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._topic = settings.topic("models")
        self._versions: dict[tuple[str, str], _Version] = {}
        self._registrations: dict[tuple[str, str], Registration] = {}
        self._by_model: dict[str, dict[str, Registration]] = {}
        self._reader: LogReader | None = None
        self._next_offset = 0
        self._progress = asyncio.Condition()
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.revision = 0
        """Raised by each change of what is in force."""

    # ------------------------------------------------------------------------------------------------ reading

    async def start(self) -> None:
        """Begin to follow the topic; returns at once."""
        self._task = asyncio.create_task(self._follow(), name="registry")

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            await end_tasks([self._task])
            self._task = None

    async def __aenter__(self) -> Self:
        await self.start()
        await self.ready()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def ready(self) -> None:
        """Wait until the topic has been read to the end that it had when reading began.

        Raises
        ------
        BaseException
            Whatever ended the task that reads.
        """
        await self._unless_broken(self._ready.wait())

    async def watch(self) -> None:
        """Wait for ever; raise what ended the task that reads, so that a worker can end with it."""
        await self._unless_broken(asyncio.Event().wait())

    @property
    def is_ready(self) -> bool:
        """Whether the topic has been read to its end."""
        return self._ready.is_set()

    def lookup(self, model: str, version: str) -> Registration | None:
        """Return what is in force for a model version; None when nobody registered it."""
        return self._registrations.get((model, version))

    def versions(self, model: str) -> Sequence[Registration]:
        """Return what is in force for all versions of a model."""
        return tuple(self._by_model.get(model, {}).values())

    def find(self, model: str, version: str, spec_hash: str) -> ModelSpec | None:
        """Return a spec by its hash, whether it is in force, was superseded or refused; None when it was withdrawn."""
        known = self._versions.get((model, version))
        offset_and_spec = None if known is None else known.specs.get(spec_hash)
        return None if offset_and_spec is None else offset_and_spec[1]

    def __iter__(self) -> Iterator[Registration]:
        return iter(list(self._registrations.values()))

    def __len__(self) -> int:
        return len(self._registrations)

    async def _unless_broken(self, wanted: Coroutine[Any, Any, object]) -> None:
        waiting = asyncio.create_task(wanted)
        try:
            if self._task is None:
                raise RuntimeError("start() comes first")
            await asyncio.wait([waiting, self._task], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                self._task.result()
        finally:
            waiting.cancel()

    async def _follow(self) -> None:
        async with LogReader(self._settings, self._topic, partitions=[0]) as reader:
            self._reader = reader
            async for records in reader.read_to_end():
                await self._admit_all(records)
            await self._moved_to(reader.positions[0])
            self._ready.set()
            async for records in reader.follow():
                await self._admit_all(records)
                await self._moved_to(reader.positions[0])

    async def _admit_all(self, records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            self.admit(record)
            await asyncio.sleep(0)  # a layout of many features takes milliseconds

    async def _moved_to(self, next_offset: int) -> None:
        async with self._progress:
            self._next_offset = next_offset
            self._progress.notify_all()

    async def refresh(self) -> None:
        """Wait until everything is read that is in the topic now: what was registered before is then known.

        Raises
        ------
        BrokerError
            The broker does not answer, or the topic is not read on, within the request timeout.
        """
        await self.ready()
        if self._reader is not None:
            behind = await self._reader.lag()
            await self._read_to(self._reader.positions[0] + behind)

    async def _read_to(self, offset: int) -> None:
        async def passed() -> None:
            async with self._progress:
                await self._progress.wait_for(lambda: self._next_offset >= offset)

        limit = self._settings.request_timeout_s
        try:
            async with asyncio.timeout(limit):
                await self._unless_broken(passed())
        except TimeoutError:
            raise BrokerError(f"topic {self._topic} was not read up to offset {offset} within {limit:g} s") from None

    def admit(self, record: ConsumerRecord) -> None:
        """Take in one record of the topic; one that is no spec, or damaged, is reported and passed over.

        Raises
        ------
        NewerFormatError
            A newer release wrote it: the worker must end.
        """
        try:
            if record.value is None:
                self._withdraw((record.key or b"").decode())
            else:
                self._add(codec.decode(ModelSpec, open_record(record)), record.offset)
        except StateError as error:
            report_damage(self._metrics, record, error)
        except (ValidationError, ValueError, ArithmeticError, LookupError) as error:
            log.error("a record of the models topic is no model spec", offset=record.offset, why=str(error))

    def _add(self, spec: ModelSpec, offset: int) -> None:
        version = self._versions.get((spec.model, spec.version), _Version())
        hash_ = spec.hash
        if hash_ in version.specs and version.specs[hash_][0] <= offset:
            return
        # A spec whose layout cannot be built raises here, before anything is kept of it.
        self._update((spec.model, spec.version), _Version({**version.specs, hash_: (offset, spec)}))

    def _withdraw(self, key: str) -> None:
        model, version, hash_ = key.split("/")
        if known := self._versions.get((model, version)):
            self._update((model, version), _Version({h: s for h, s in known.specs.items() if h != hash_}))

    def _update(self, name: tuple[str, str], version: _Version) -> None:
        before = self._registrations.get(name)
        after = version.in_force(before)
        self._versions[name] = version
        if after is None:
            self._registrations.pop(name, None)
            self._by_model.get(name[0], {}).pop(name[1], None)
        else:
            self._registrations[name] = after
            self._by_model.setdefault(name[0], {})[name[1]] = after
        if before is None or after is None or before.spec is not after.spec:
            self.revision += 1
        for hash_ in set(after.refused if after else ()) - set(before.refused if before else ()):
            log.error("a second spec of a model version is refused: a version never changes, raise the version",
                      model=name[0], version=name[1], refused=hash_, in_force=after and after.spec_hash)  # fmt: skip
            if self._metrics is not None:
                self._metrics.spec_conflicts.inc()
        if self._metrics is not None:
            self._metrics.registry_models.set(len(self))

    # ---------------------------------------------------------------------------------------------- publishing

    async def publish(self, spec: ModelSpec) -> Registration:
        """Register a spec, or its reference frozen from the stream; do nothing if it is there already.

        Returns
        -------
        Registration
            What is in force then. For a frozen reference that is the one that came first.

        Raises
        ------
        SpecConflictError
            The version has another spec.
        DeliveryError
            The broker refused the record or did not acknowledge it in time.
        """
        await self.ready()
        registered = self.lookup(spec.model, spec.version)
        if registered is None or self._supersedes(spec, registered):
            await self._read_to(await self._send(spec) + 1)
            registered = self.lookup(spec.model, spec.version)
        if registered is None or registered.declared_hash != _declared(spec):
            in_force = registered.declared_hash[:12] if registered else "none"
            raise SpecConflictError(
                f"{spec.model} {spec.version} is registered with another spec ({in_force}; yours is "
                f"{_declared(spec)[:12]}): a version never changes, give this spec a version of its own"
            )
        return registered

    @staticmethod
    def _supersedes(spec: ModelSpec, registered: Registration) -> bool:
        return registered.layout is None and spec.hash != registered.spec_hash == _declared(spec)

    async def _send(self, spec: ModelSpec) -> int:
        """Produce the spec and return the offset that it got."""
        value = codec.encode(spec)
        if len(value) > TOPICS["models"].max_message_bytes - 4_096:
            raise OperatorError(f"the spec of {spec.model} {spec.version} is too large: {len(value):,} bytes")
        try:
            # Not idempotent: it gives up after the request timeout, and a repeat of a spec changes nothing.
            async with AIOKafkaProducer(
                **self._settings.client_options(),
                acks="all",
                max_request_size=TOPICS["models"].max_message_bytes,
            ) as producer:
                sent = await producer.send_and_wait(
                    self._topic,
                    value,
                    key=f"{spec.model}/{spec.version}/{spec.hash}".encode(),
                    partition=0,
                    headers=[*codec.headers(spec, source=SOURCE), *seal_of(value)],
                )
        except KafkaError as error:
            raise DeliveryError(f"the spec was not accepted by the broker: {error!r}") from error
        return int(sent.offset)
