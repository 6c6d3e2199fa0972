"""Every error says what to do."""

import pytest
from google.rpc import error_details_pb2, status_pb2

from caller import errors
from caller.call import CallReport
from caller.errors import CallerError
from caller.remedies import REMEDIES, remedy_for
from integration_api.client.errors import detail
from integration_api.rpc.status import TABLE, status_details
from integration_api.v1 import error_reason_pb2


def kinds(kind: type[CallerError] = CallerError) -> list[type[CallerError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in kinds(child))]


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind in TABLE], ids=lambda kind: kind.__name__)
def test_every_kind_of_error_has_a_remedy_of_its_own_family(kind: type[CallerError]) -> None:
    """None falls back to "see the text"."""
    assert remedy_for(kind) != REMEDIES[CallerError]


def test_every_reason_has_a_remedy() -> None:
    """Each word of the contract leads to something to do."""
    reasons = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name}

    assert reasons - {"UNSPECIFIED"} == {word for _, word in TABLE.values()}


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_the_remedy_is_among_the_details(kind: type[CallerError]) -> None:
    """As the description of google.rpc.Help's one link, where every language finds it."""
    packed = dict(status_details(kind("text"), CallReport(0.0), "r").trailers)["grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    found = detail(status_pb2.Status.FromString(packed), error_details_pb2.Help())

    page = f"docs/errors.md#{TABLE[kind][1].lower()}"
    assert [(link.description, link.url) for link in found.links] == [(remedy_for(kind), page)]


def test_the_nearest_parents_remedy_holds() -> None:
    """A class without a row of its own takes its parent's."""
    assert remedy_for(errors.LostReusedConnection) == REMEDIES[errors.EndpointUnreachable]
