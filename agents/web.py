"""Health, readiness and metrics over HTTP.

``/healthz``
    200 while the process should live: a supervisor restarts it on anything else. 503 with the reasons.
``/readyz``
    200 while the worker does its work; 503 with the reasons, one a line. For rollouts and people.
``/metrics``
    For Prometheus.
``/totals``
    The running totals of the partitions that this worker has, as JSON: what was counted of each model version since it
    was first counted, up to which offset. ``?model=ID`` chooses one model and shows its counts too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from agents.errors import OperatorError
from agents.metrics import CONTENT_TYPE, Metrics

Check = Callable[[], str | None]
"""Says in words what is wrong; None: nothing is."""

Totals = Callable[[str | None], Sequence[Mapping[str, Any]]]
"""Tells the running totals of a model, with their counts; None: of all models, without."""

_CLOSE_WITHIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Checks:
    """What the two endpoints ask, by name."""

    live: Mapping[str, Check] = field(default_factory=dict)
    ready: Mapping[str, Check] = field(default_factory=dict)


class WebServer:
    """The worker's HTTP server.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes any free one, then `port` says which.
    metrics
        What ``/metrics`` shows.
    checks
        What ``/healthz`` and ``/readyz`` ask, at each request.
    totals
        What ``/totals`` shows.

    Raises
    ------
    OperatorError
        On starting: the address cannot be used.
    """

    def __init__(
        self, host: str, port: int, metrics: Metrics, checks: Checks, totals: Totals = lambda _model: ()
    ) -> None:
        self.host = host
        self.port = port
        self._metrics = metrics
        self._checks = checks
        self._totals = totals
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._show_metrics),
                web.get("/totals", self._show_totals),
            ]
        )
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_CLOSE_WITHIN_S)
        await runner.setup()
        site = web.TCPSite(runner, self.host, self.port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise OperatorError(
                f"cannot listen on {self.host}:{self.port} ({error.strerror or error}): "
                "choose another DRIFTLINE_WEB_PORT, 0 for any free one"
            ) from None
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _answer(self._checks.live)

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _answer(self._checks.ready)

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.expose(), headers={"Content-Type": CONTENT_TYPE})

    async def _show_totals(self, request: web.Request) -> web.Response:
        return web.json_response({"totals": list(self._totals(request.query.get("model")))})


def _answer(checks: Mapping[str, Check]) -> web.Response:
    """200 and ``ok``, or 503 and one line for each check that fails."""
    wrong = [f"{name}: {reason}" for name, check in checks.items() if (reason := check()) is not None]
    return web.Response(status=503 if wrong else 200, text="\n".join(wrong or ["ok"]) + "\n")
