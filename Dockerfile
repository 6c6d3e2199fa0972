# Two stages: the first installs into a virtual environment, the second holds that environment and Python, no more.
# Python 3.13: newer than what the tests run on by default (3.11), and every dependency has a wheel for it.
FROM python:3.13-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /app

# The dependencies have a layer of their own: a change of the code does not install them again.
COPY pyproject.toml /src/
RUN python -c 'import tomllib; p = tomllib.load(open("/src/pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["otel"], sep="\n")' \
      > /tmp/requirements.txt \
 && /app/bin/pip install --requirement /tmp/requirements.txt

COPY . /src
RUN /app/bin/pip install --no-deps /src && /app/bin/pip uninstall --yes pip

FROM python:3.13-slim

COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    INTEGRATION_API_HOST=0.0.0.0 \
    INTEGRATION_API_LOG_FORMAT=json \
    INTEGRATION_API_ADMIN_PORT=9090

# A number, not a name: Kubernetes can tell that it is not root. Nothing is ever written to the disk.
USER 65532:65532
EXPOSE 9004
STOPSIGNAL SIGTERM
# `health` asks the admin port, on loopback, so that it needs no client certificate where clients need one.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["integration-api", "health"]
ENTRYPOINT ["integration-api"]
CMD ["serve"]
