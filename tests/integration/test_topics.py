"""Making and checking topics, on both brokers."""

from __future__ import annotations

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from agents.broker import free_port
from agents.errors import BrokerError, TopicError
from agents.settings import Settings
from agents.topics import admin, ensure_topics
from schemas.topics import TOPICS
from tests.support.produce import make_topic


async def test_missing_topics_are_made_with_the_partitions_of_the_table(settings: Settings) -> None:
    found = await ensure_topics(settings)
    assert found.keys() == TOPICS.keys()
    for name, count in found.items():
        assert count == (TOPICS[name].partitions or settings.partitions)


async def test_a_second_start_changes_nothing(settings: Settings) -> None:
    assert await ensure_topics(settings) == await ensure_topics(settings)


async def test_input_topics_may_have_any_number_of_partitions(settings: Settings) -> None:
    await make_topic(settings, "features", partitions=5)
    assert (await ensure_topics(settings))["features"] == 5


async def test_verdicts_follow_the_partitions_of_profiles_that_are_there(settings: Settings) -> None:
    await make_topic(settings, "profiles", partitions=3, config={"cleanup.policy": "compact"})
    assert (await ensure_topics(settings))["verdicts"] == 3


async def test_verdicts_with_other_partitions_than_profiles_are_a_one_line_error(settings: Settings) -> None:
    await make_topic(settings, "profiles", partitions=3, config={"cleanup.policy": "compact"})
    await make_topic(settings, "verdicts", partitions=2, config={"cleanup.policy": "compact"})
    with pytest.raises(TopicError) as caught:
        await ensure_topics(settings)
    message = str(caught.value)
    assert settings.topic("verdicts") in message
    assert "has 2 partitions" in message
    assert "\n" not in message


async def test_a_registry_topic_with_two_partitions_is_refused(settings: Settings) -> None:
    await make_topic(settings, "models", partitions=2, config={"cleanup.policy": "compact"})
    with pytest.raises(TopicError, match=r"models has 2 partitions and must have 1"):
        await ensure_topics(settings)


async def test_no_broker_is_one_line_that_names_where_it_was_looked_for() -> None:
    settings = Settings(bootstrap_servers=f"127.0.0.1:{free_port()}", request_timeout_s=5)
    with pytest.raises(BrokerError) as caught:
        await ensure_topics(settings)
    assert str(caught.value).startswith(f"no Kafka broker answers at {settings.bootstrap_servers}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.kafka
@pytest.mark.integration
@pytest.mark.parametrize("broker", ["apache_kafka"], indirect=True)
class TestOnApacheKafka:
    async def test_topics_are_made_with_the_cleanup_and_sizes_of_the_table(self, settings: Settings) -> None:
        await ensure_topics(settings)
        for name, spec in TOPICS.items():
            async with admin(settings) as client:
                resource = ConfigResource(ConfigResourceType.TOPIC, settings.topic(name))
                (response,) = await client.describe_configs([resource])
            config = {entry[0]: entry[1] for entry in response.resources[0][4]}
            assert config["cleanup.policy"] == spec.cleanup
            assert int(config["max.message.bytes"]) == spec.max_message_bytes

    async def test_a_profiles_topic_that_forgets_is_refused(self, settings: Settings) -> None:
        await make_topic(settings, "profiles", config={"cleanup.policy": "delete"})
        with pytest.raises(TopicError, match=r"profiles has cleanup.policy=delete and must have compact"):
            await ensure_topics(settings)
