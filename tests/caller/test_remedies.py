"""Every error says what to do."""

import pytest

from caller import errors
from caller.errors import CallerError
from caller.remedies import REMEDIES, remedy_for
from integration_api.commands.failures import remedy_of_reason
from integration_api.rpc.status import TABLE
from integration_api.v1 import error_reason_pb2


def kinds(kind: type[CallerError] = CallerError) -> list[type[CallerError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in kinds(child))]


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind in TABLE], ids=lambda kind: kind.__name__)
def test_every_kind_of_error_has_a_remedy_of_its_own_family(kind: type[CallerError]) -> None:
    """None falls back to "see the text"."""
    assert remedy_for(kind) != REMEDIES[CallerError]


def test_every_reason_has_a_remedy_at_the_command_line() -> None:
    """Each word of the contract leads to something to do."""
    reasons = [name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name]
    missing = [reason for reason in reasons if reason != "UNSPECIFIED" and not remedy_of_reason(reason)]

    assert missing == []
    assert remedy_of_reason("NO_SUCH_REASON") == ""


def test_the_nearest_parents_remedy_holds() -> None:
    """A class without a row of its own takes its parent's."""
    assert remedy_for(errors.LostReusedConnection) == REMEDIES[errors.EndpointUnreachable]
