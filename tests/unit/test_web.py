import aiohttp
import pytest

from agents.broker import free_port
from agents.errors import OperatorError
from agents.metrics import Metrics
from agents.web import Checks, WebServer


async def get(server: WebServer, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{server.host}:{server.port}{path}") as response,
    ):
        return response.status, await response.text()


def server_with(checks: Checks | None = None, metrics: Metrics | None = None) -> WebServer:
    return WebServer("127.0.0.1", 0, metrics or Metrics(), checks or Checks())


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_worker_with_nothing_wrong_answers_ok(path: str):
    async with server_with(Checks(live={"loops": lambda: None}, ready={"registry": lambda: None})) as server:
        assert await get(server, path) == (200, "ok\n")


async def test_readiness_names_each_check_that_fails_and_its_reason():
    checks = Checks(
        ready={
            "partitions": lambda: "none assigned yet",
            "registry": lambda: None,
            "producer": lambda: "the last delivery failed",
        }
    )
    async with server_with(checks) as server:
        status, text = await get(server, "/readyz")
    assert status == 503
    assert text.splitlines() == ["partitions: none assigned yet", "producer: the last delivery failed"]


async def test_a_worker_that_is_not_ready_is_alive_all_the_same():
    async with server_with(Checks(ready={"registry": lambda: "still reading"})) as server:
        assert (await get(server, "/healthz"))[0] == 200


async def test_a_check_is_asked_at_each_request():
    reasons: list[str | None] = ["starting", None]
    async with server_with(Checks(ready={"start": lambda: reasons.pop(0)})) as server:
        assert [(await get(server, "/readyz"))[0] for _ in range(2)] == [503, 200]


async def test_metrics_are_served_in_the_text_format_of_prometheus():
    metrics = Metrics()
    metrics.retrain_requests.labels(model="fraud").inc()
    async with server_with(metrics=metrics) as server:
        status, text = await get(server, "/metrics")
    assert status == 200
    assert 'driftline_retrain_requests_total{model="fraud"} 1.0' in text.splitlines()


async def test_a_taken_port_is_refused_in_one_line_that_names_the_setting():
    async with server_with() as server:
        second = WebServer(server.host, server.port, Metrics(), Checks())
        with pytest.raises(OperatorError, match=rf"cannot listen on 127\.0\.0\.1:{server.port} .*DRIFTLINE_WEB_PORT"):
            await second.start()


async def test_a_stopped_server_gives_its_port_back():
    port = free_port()
    for _ in range(2):
        async with WebServer("127.0.0.1", port, Metrics(), Checks()) as server:
            assert (await get(server, "/healthz"))[0] == 200
