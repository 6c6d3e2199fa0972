# Two stages: the first installs into a virtual environment, the second holds that environment and Python, no more.
# Python 3.13: newer than what the tests run on by default (3.11), and every dependency has a wheel for it.
# By tag, so that it can be built wherever the tag is known; `make pin-image` writes the digest behind it.
ARG PYTHON_IMAGE=python:3.13-slim
# The package's own, which a label cannot read from it: a build with another one fails, and so does a test.
ARG VERSION=0.1.0

FROM ${PYTHON_IMAGE} AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /app

# The dependencies have a layer of their own: a change of the code does not install them again. Exactly what the locks name
# is installed, and nothing is compiled.
COPY requirements.lock requirements-build.lock /src/
RUN /app/bin/pip install --require-hashes --only-binary :all: \
      --requirement /src/requirements.lock --requirement /src/requirements-build.lock

COPY . /src
ARG VERSION
RUN /app/bin/pip install --no-index --no-deps --no-build-isolation /src \
 && /app/bin/pip uninstall --yes --quiet setuptools \
 && /app/bin/pip check \
 && /app/bin/pip uninstall --yes --quiet pip \
 && packaged=$(/app/bin/python -c 'import integration_api; print(integration_api.__version__)') \
 && { test "$VERSION" = "$packaged" || { echo "VERSION=$VERSION, but the package is $packaged" >&2; exit 1; }; }

FROM ${PYTHON_IMAGE}

ARG VERSION
# Of whoever publishes the image: the commit, and where its source is.
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="integration-api" \
      org.opencontainers.image.description="A gRPC service in front of chat models: one contract for every chat endpoint, streamed." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

COPY --from=build /app /app
# The published image has its standard library uncompiled, and a container on a read-only file system compiles it at every
# start and every health check: what these import is compiled here, once.
RUN /app/bin/python -c 'import integration_api.server, integration_api.commands.serve, integration_api.commands.health'

ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    INTEGRATION_API_HOST=0.0.0.0 \
    INTEGRATION_API_LOG_FORMAT=json \
    INTEGRATION_API_ADMIN_PORT=9090

# A number, not a name: Kubernetes can tell that it is not root. Nothing is ever written to the disk.
USER 65532:65532
# gRPC, and the admin port for metrics and probes, which listens on loopback until INTEGRATION_API_ADMIN_HOST says otherwise.
EXPOSE 9004 9090
STOPSIGNAL SIGTERM
# `health` asks the admin port, on loopback, so that it needs no client certificate where clients need one.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --start-interval=1s --retries=3 CMD ["integration-api", "health"]
ENTRYPOINT ["integration-api"]
CMD ["serve"]
