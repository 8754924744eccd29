"""The registry on a broker: registering, following, and who wins a race."""

from __future__ import annotations

import asyncio

import pytest

from agents.errors import BrokerError
from agents.registry import Registry, SpecConflictError
from agents.settings import Settings
from agents.topics import ensure_topics
from schemas import codec
from tests.support.data import numbers, spec_of
from tests.support.produce import produce
from tests.support.profiling import draft, read_all, registered
from tests.support.wait import eventually

only_on_apache_kafka = pytest.mark.parametrize(
    "broker", [pytest.param("apache_kafka", marks=[pytest.mark.integration, pytest.mark.kafka])], indirect=True
)


async def test_a_follower_learns_of_what_others_register(settings: Settings) -> None:
    await ensure_topics(settings)
    async with Registry(settings) as follower, Registry(settings) as other:
        assert len(follower) == 0
        await other.publish(registered())
        await eventually(lambda: follower.lookup("m", "1") is not None)
        assert [registration.spec for registration in follower] == [registered()]


async def test_what_was_registered_before_is_known_after_a_refresh(settings: Settings) -> None:
    await ensure_topics(settings)
    async with Registry(settings) as follower, Registry(settings) as other:
        for version in map(str, range(20)):
            await other.publish(draft(version=version))
            await follower.refresh()
            assert follower.lookup("m", version) is not None


async def test_everything_is_known_when_reading_to_the_end_is_done(settings: Settings) -> None:
    await ensure_topics(settings)
    specs = [draft(model=f"model-{number}") for number in range(300)]
    await produce(settings, settings.topic("models"), [(spec.hash.encode(), codec.encode(spec)) for spec in specs])
    async with Registry(settings) as registry:
        assert len(registry) == 300


async def test_registering_the_same_again_writes_nothing(settings: Settings) -> None:
    await ensure_topics(settings)
    async with Registry(settings) as registry:
        for _ in range(3):
            await registry.publish(registered())
    assert len(await read_all(settings, "models")) == 1


async def test_another_spec_of_a_version_is_refused_in_one_line(settings: Settings) -> None:
    await ensure_topics(settings)
    async with Registry(settings) as registry:
        await registry.publish(draft())
        with pytest.raises(SpecConflictError, match=r"^m 1 is registered with another spec .* a version of its own$"):
            await registry.publish(spec_of(*numbers("y")))
    assert len(await read_all(settings, "models")) == 1


async def test_of_two_that_register_at_the_same_time_one_is_told_that_it_lost(settings: Settings) -> None:
    await ensure_topics(settings)
    specs = [draft(), spec_of(*numbers("y"))]
    async with Registry(settings) as one, Registry(settings) as two:
        outcomes = await asyncio.gather(one.publish(specs[0]), two.publish(specs[1]), return_exceptions=True)
        await one.refresh()
        await two.refresh()
        assert one.lookup("m", "1") == two.lookup("m", "1")
    assert sum(isinstance(outcome, SpecConflictError) for outcome in outcomes) == 1


@only_on_apache_kafka  # the embedded broker makes topics by itself
async def test_a_missing_topic_is_said_in_one_line(settings: Settings) -> None:
    with pytest.raises(BrokerError, match="models"):
        async with Registry(settings.model_copy(update={"request_timeout_s": 3.0})):
            pass
