# The service as `python -m service`; `serve` where no command is given. Its data is in /data.
# Give it as long to stop as SENTRY_GRAPH_DRAIN_SECONDS and SENTRY_GRAPH_SHUTDOWN_SECONDS say together:
# `docker stop -t 30`, or terminationGracePeriodSeconds in Kubernetes.

FROM node:24-slim AS node

FROM python:3.11-slim AS build
RUN python -m venv --without-pip /venv
COPY requirements.txt /build/
RUN pip --disable-pip-version-check --python /venv/bin/python install \
    --no-cache-dir --no-compile --only-binary :all: --require-hashes -r /build/requirements.txt
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
COPY service /app/service
WORKDIR /app
RUN /venv/bin/python -m service.schema.graphiql.install
# Compiled here, since the user that runs it may not write there.
RUN /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /venv/lib /app/service

FROM python:3.11-slim
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin graph \
    && install --directory --owner graph --group graph --mode 0700 /data
COPY --from=build /venv /venv
COPY --from=build /app /app
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SENTRY_GRAPH_HOST=0.0.0.0 \
    SENTRY_GRAPH_DATABASE_URL=sqlite:////data/sentry-graph.db \
    SENTRY_GRAPH_KEYRING_FILE=/data/keyring.json
WORKDIR /app
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ.get('SENTRY_GRAPH_PORT', '8000') + '/health', timeout=2)"]
ENTRYPOINT ["python", "-m", "service"]
CMD ["serve"]
