"""What docs/errors.md says of each reason, from the places that decide it: classes, statuses, remedies, the contract.

Rule: says nothing of its own. Advice beyond the remedies is written by hand on the page, behind these sections.
"""

from collections.abc import Mapping
from types import MappingProxyType

from grpc import StatusCode

from caller.errors import CallerError, Retry
from caller.remedies import REMEDIES, remedy_for
from integration_api.rpc.status import TABLE as STATUSES
from integration_api.v1 import error_reason_pb2
from scripts.markdown import code, plain, table

_PREFIX = "ERROR_REASON_"
_RETRIES: Mapping[Retry, str] = MappingProxyType(
    {
        Retry.NEVER: "not asked again",
        Retry.YES: "asked again before the first output",
        Retry.ONCE: "asked again once before the first output",
        Retry.IF_SOON: "asked again where the endpoint says when, and that is within 5 s",
    }
)


def reasons() -> list[str]:
    """The words of the contract, without the one that is never sent, in the order of their names."""
    values = error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
    return sorted(name.removeprefix(_PREFIX) for name in values if not name.endswith("_UNSPECIFIED"))


def summary() -> str:
    """Every reason with its statuses and who must act, each with a link to its section."""
    rows = []
    for reason in reasons():
        kinds = _kinds_of(reason)
        statuses = sorted({_status(kind)[0].name for kind in kinds})
        faults = sorted({kind.fault.value for kind in kinds})
        rows.append([f"[{code(reason)}](#{reason.lower()})", ", ".join(map(code, statuses)), ", ".join(faults)])
    return table(["reason", "status", "who must act"], rows)


def section(reason: str) -> str:
    """What a reason means, one point for each way to it: when, its status, who must act, what to do."""
    return "".join(
        f"* **{plain(_first_sentence(kind))}.** {code(_status(kind)[0].name)}, fault: {kind.fault.value},"
        f" {_RETRIES[kind.retry]}.<br>*What to do:* {plain(remedy_for(kind))}.\n"
        for kind in _kinds_of(reason)
    )


def _kinds_of(reason: str) -> list[type[CallerError]]:
    """The classes that have a status or a remedy of their own, those that are met most often first."""
    return [
        kind
        for kind in _tree(CallerError)
        if (kind in STATUSES or kind in REMEDIES) and any(parent in STATUSES for parent in kind.__mro__)
        if _status(kind)[1] == reason
    ]


def _tree(kind: type[CallerError]) -> list[type[CallerError]]:
    """The class and all below it: one with a remedy of its own shares its parent's reason, not always its fault."""
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


def _status(kind: type[CallerError]) -> tuple[StatusCode, str]:
    return next(STATUSES[parent] for parent in kind.__mro__ if parent in STATUSES)


def _first_sentence(kind: type[CallerError]) -> str:
    """What the class's docstring says first."""
    text = " ".join((kind.__doc__ or "").split())
    return text.partition(". ")[0].rstrip(".")
