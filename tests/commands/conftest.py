"""What tests of the command line share: a sandbox and a service as processes, for the tests of one file."""

from collections.abc import Iterator

import pytest

from tests.edge.processes import Running, sandbox, service


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with sandbox() as base_url:
        yield base_url


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with service() as running:
        yield running
