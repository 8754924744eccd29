"""Saved records that are damaged or newer, on a broker: refused, named, and rebuilt from what can be read again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from agents.metrics import Metrics
from agents.seals import FORMAT, NewerFormatError, seal_of
from agents.settings import Settings
from agents.statelog import partition_for
from agents.topics import ensure_topics
from detector.judge import ModelJudge
from schemas import codec
from schemas.profiles import ProfileTotal
from tests.support.judging import PARTITION, SPEC, TOTALS, judging, prepared, until_taken
from tests.support.produce import Headed, produce
from tests.support.profiling import (
    events,
    last_totals,
    published,
    read_all,
    register,
    registered,
    remaining_keys,
    running_profiler,
)
from tests.support.stream import judged
from tests.support.worker import drift_events, statuses, until

HEAD_OF_A_STATE = 8


@pytest.fixture
async def topics(settings: Settings) -> Settings:
    """The topics are there, and the model of the totals is registered."""
    return await prepared(settings)


async def tell(settings: Settings, totals: Iterable[ProfileTotal]) -> None:
    """Publish totals of one source partition as a profiling agent does."""
    records = [(b"m/1/predictions/0/0@1", codec.encode(total)) for total in totals]
    await produce(settings, settings.topic("profiles"), records, PARTITION)


async def damage(settings: Settings, topic: str, partition: int, *, forge: Sequence[int] = (-1,)) -> None:
    """Write the newest state of a topic again, with its seal, but with bytes changed at these places."""
    record = [each for each in await read_all(settings, topic) if each.value is not None][-1]
    value = bytearray(record.value)
    for place in forge:
        value[place] ^= 0x40
    forged = Headed(record.key, bytes(value), list(record.headers))
    await produce(settings, settings.topic(topic), [forged], partition)


# ------------------------------------------------------------------------------------------------------ verdicts


async def judged_up_to(settings: Settings, cut: int) -> None:
    async with judging(settings):
        await tell(settings, TOTALS[:cut])
        await until_taken(settings, cut)


@pytest.mark.parametrize("place", [0, HEAD_OF_A_STATE, -1], ids=["position", "seal", "body"])
async def test_a_damaged_state_falls_back_to_the_one_before_and_loses_no_incident(topics: Settings, place: int):
    await judged_up_to(topics, 70)
    await damage(topics, "verdicts", PARTITION, forge=[place])
    async with judging(topics) as worker:
        await tell(topics, TOTALS[70:])
        await until_taken(topics, len(TOTALS))
        assert worker.metrics.value("driftline_damaged_records_total", topic=topics.topic("verdicts")) == 1
    assert await drift_events(topics) == judged(ModelJudge(SPEC), TOTALS)
    note = (await statuses(topics))["m/1/production"].note or ""
    assert note.startswith("its saved state was damaged (its checksum is wrong")
    assert note.endswith("is rebuilt from an older one and the totals since: no open incident was lost")


async def leave_a_damaged_state_alone(settings: Settings) -> None:
    """Leave of the states what compaction leaves: a damaged one."""
    record = [each for each in await read_all(settings, "verdicts") if each.value is not None][-1]
    forged = Headed(record.key, record.value[:-1], list(record.headers))
    await produce(settings, settings.topic("verdicts"), [(record.key, None), forged], PARTITION)


async def test_without_an_older_state_the_totals_are_judged_from_their_start(topics: Settings):
    await judged_up_to(topics, 70)
    await leave_a_damaged_state_alone(topics)
    async with judging(topics):
        await until_noted(topics, "is rebuilt from the totals from their start: no open incident was lost")
    assert (await statuses(topics))["m/1/production"].rows == 70 * 32
    expected = judged(ModelJudge(SPEC), TOTALS[:70])
    assert await drift_events(topics) == expected + expected  # the same again, under the same ids


async def until_noted(settings: Settings, text: str) -> None:
    async def noted() -> bool:
        status = (await statuses(settings)).get("m/1/production")
        return status is not None and text in (status.note or "")

    await until(noted)


async def test_an_incident_of_which_nothing_is_left_is_named(topics: Settings):
    await judged_up_to(topics, 70)
    lost = (await statuses(topics))["m/1/production"].incident_id
    assert lost is not None
    apart = topics.model_copy(update={"group": topics.group + "-anew"})
    await leave_a_damaged_state_alone(topics)
    async with judging(apart):  # a group that has committed nothing: at the time nothing is left to judge from
        await until_noted(topics, f"the history of incident {lost} is lost")


async def test_a_state_of_a_newer_format_ends_the_worker_with_one_line_and_stays(topics: Settings):
    await judged_up_to(topics, 5)
    newer = Headed(b"m/1@900", b"who knows", seal_of(b"who knows", FORMAT + 1))
    await produce(topics, topics.topic("verdicts"), [newer], PARTITION)
    with pytest.raises(NewerFormatError, match=f"written by a newer release of driftline .its format is {FORMAT + 1}"):
        await judged_up_to(topics, 100)
    assert [each.key for each in await read_all(topics, "verdicts")][-1] == b"m/1@900"


async def test_a_damaged_total_is_passed_over_and_the_next_one_holds_its_rows(topics: Settings):
    value = codec.encode(TOTALS[10])
    forged = Headed(b"m/1/predictions/0/0@1", value[:-20] + value[-19:], seal_of(value))
    async with judging(topics) as worker:
        await tell(topics, TOTALS[:10])
        await produce(topics, topics.topic("profiles"), [forged], PARTITION)
        await until_taken(topics, 11)
        await until_noted(topics, "a total of predictions/0, is damaged")
        await tell(topics, TOTALS[11:])
        await until_taken(topics, len(TOTALS))
        assert worker.metrics.value("driftline_damaged_records_total", topic=topics.topic("profiles")) == 1
    status = (await statuses(topics))["m/1/production"]
    assert (status.rows, status.note) == (len(TOTALS) * 32, None)


# -------------------------------------------------------------------------------------------------------- totals


async def counted(settings: Settings, records: int) -> None:
    """Predictions on partition 0, counted and committed."""
    await ensure_topics(settings)
    await register(settings, registered())
    await produce(settings, settings.topic("predictions"), events(range(records)), partition=0)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: records})


async def count_on(settings: Settings, records: int) -> Metrics:
    """Some more predictions, after the damage."""
    await produce(settings, settings.topic("predictions"), events(range(50)), partition=0)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: records + 50})
        return worker.metrics


async def forget_all_but_the_damaged(settings: Settings) -> None:
    """Leave of the totals what compaction leaves: a damaged one alone."""
    partition = partition_for("m", 2)
    (record,) = [each for each in await read_all(settings, "profiles") if each.value is not None][-1:]
    await produce(settings, settings.topic("profiles"), [(record.key, None)], partition)
    forged = Headed(record.key, record.value[:-7] + b"9" + record.value[-6:], list(record.headers))
    await produce(settings, settings.topic("profiles"), [forged], partition)


async def test_a_damaged_total_is_counted_on_from_the_one_before_it(settings: Settings):
    await counted(settings, 300)
    await damage(settings, "profiles", partition_for("m", 2), forge=[40])
    metrics = await count_on(settings, 300)
    assert metrics.value("driftline_damaged_records_total", topic=settings.topic("profiles")) == 1
    last = (await published_after_the_damage(settings))[-1]
    assert (last.rows, last.incarnation, last.started_at, last.uncounted) == (350, 0, 0, ())
    assert len(await remaining_keys(settings)) == 1


async def test_a_damaged_total_without_another_is_counted_again_from_the_log(settings: Settings):
    await counted(settings, 300)
    await forget_all_but_the_damaged(settings)
    await count_on(settings, 300)
    totals = [total for total in await published_after_the_damage(settings) if total.partition == 0]
    assert totals[-1].rows == 350
    assert (totals[-1].incarnation, totals[-1].started_at, totals[-1].uncounted) == (0, 0, ())
    assert len(await remaining_keys(settings)) == 1


async def published_after_the_damage(settings: Settings) -> list[ProfileTotal]:
    records = [each for each in await read_all(settings, "profiles") if each.value is not None]
    sound = [each for each in records if seal_of(each.value)[1] in each.headers]
    return [ProfileTotal.model_validate_json(each.value) for each in sound if b'"total"' in each.value[:40]]


async def test_the_judge_s_copy_is_counted_on_where_the_log_is_gone(settings: Settings):
    await counted(settings, 300)
    (total,) = last_totals(await published(settings, ProfileTotal)).values()
    judge = ModelJudge(registered())
    judge.fold(total)
    state = (0).to_bytes(HEAD_OF_A_STATE, "big") + judge.state()
    await produce(
        settings, settings.topic("verdicts"), [Headed(b"m/1@1", state, seal_of(state))], partition_for("m", 2)
    )
    await forget_all_but_the_damaged(settings)
    await count_on(settings, 300)
    last = (await published_after_the_damage(settings))[-1]
    assert (last.rows, last.started_at, last.next_offset) == (350, total.started_at, 350)
