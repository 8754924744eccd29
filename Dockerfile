# The worker: `docker build -t driftline .`, then `docker run -e DRIFTLINE_BOOTSTRAP_SERVERS=kafka:9092 driftline`.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_CACHE_DIR=/var/cache/pip PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/driftline
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY schemas schemas
COPY detector detector
COPY agents agents
RUN --mount=type=cache,target=/var/cache/pip \
    /opt/driftline/bin/pip install --constraint constraints.txt .

FROM python:${PYTHON_VERSION}-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/driftline driftline
COPY --from=build /opt/driftline /opt/driftline
ENV PATH=/opt/driftline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DRIFTLINE_LOG_FORMAT=json \
    DRIFTLINE_WEB_HOST=0.0.0.0 \
    DRIFTLINE_WEB_PORT=8910 \
    DRIFTLINE_STATE_DIR=/var/lib/driftline/state
WORKDIR /var/lib/driftline
# By number, so that an orchestrator can see that it is not root.
USER 10001
EXPOSE 8910
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD \
    ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['DRIFTLINE_WEB_PORT'] + '/healthz', timeout=4)"]
ENTRYPOINT ["driftline"]
CMD ["worker"]
