# The floor alone: Postgres and Redis are the compose file's services. Builds with BuildKit and with the older builder.
#
# What goes in is pinned by requirements-image.lock, hash by hash; the base image is whatever python:3.13-slim is on the
# machine that builds. Nothing here names an index: pip asks the one it knows, or a mirror of it given as
# `--build-arg PIP_INDEX_URL=...`, and takes nothing whose hash is not in the lock.

FROM python:3.13-slim AS build
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The slow layer comes first: it changes with the lock, not with the code. The environment itself has no pip.
RUN python -m venv --without-pip /opt/polybot
COPY requirements-image.lock ./
RUN python -m pip --python /opt/polybot/bin/python install --require-hashes --only-binary :all: -r requirements-image.lock

# polybot itself, built by the locked hatchling, which then goes again with what only it needs. The byte code is made
# here, because the floor runs on a read-only file system, with no times in it and by a fixed seed, so that two builds
# of one tree hardly differ.
COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY configs configs
COPY polybot polybot
RUN pip="python -m pip --python /opt/polybot/bin/python" \
 && $pip install --no-index --no-deps --no-build-isolation . \
 && $pip uninstall --yes hatchling pathspec pluggy tomlkit trove-classifiers \
 && $pip check \
 && PYTHONHASHSEED=0 /opt/polybot/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/polybot/lib


FROM python:3.13-slim
LABEL org.opencontainers.image.title="PolyBot" \
      org.opencontainers.image.description="A self-managing trading floor for Polymarket's short crypto binaries" \
      org.opencontainers.image.licenses="MIT"

# A fixed number, so that a volume's files belong to the same user after every build.
RUN groupadd --gid 10001 polybot \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin polybot \
 && install -d -o polybot -g polybot -m 0750 /data
COPY --from=build /opt/polybot /opt/polybot

# POLYBOT_EMBEDDED=never: no servers of its own, so a missing address is an error. POLYBOT_WEB_HOSTS: the page can be
# reached from outside the container, so it answers to these names and localhost only.
ENV PATH=/opt/polybot/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    POLYBOT_DATA_DIR=/data \
    POLYBOT_EMBEDDED=never \
    POLYBOT_LOG_FORMAT=json \
    POLYBOT_WEB_HOST=0.0.0.0 \
    POLYBOT_WEB_HOSTS='["polybot"]' \
    POLYBOT_WEB_PORT=8080

USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-S", "-c", "import http.client, os, sys; probe = http.client.HTTPConnection('127.0.0.1', int(os.environ['POLYBOT_WEB_PORT']), timeout=4); probe.request('GET', '/health'); sys.exit(probe.getresponse().status != 200)"]
ENTRYPOINT ["polybot"]
CMD ["run"]
