"""What the broker itself knows of a consumer group."""

from __future__ import annotations

from agents.settings import Settings
from agents.topics import admin


async def committed(settings: Settings, topic: str) -> dict[int, int]:
    """Offsets that the group has committed, by partition of the topic."""
    async with admin(settings) as client:
        offsets = await client.list_consumer_group_offsets(settings.group)
    return {tp.partition: at.offset for tp, at in offsets.items() if tp.topic == topic and at.offset >= 0}


def altered(settings: Settings, **changes: object) -> Settings:
    """Return the settings with some of them changed."""
    return settings.model_copy(update=changes)
