"""Requests of `integration_api.v1` to domain values. Pure; what is wrong with a request is one violation with its path.

A request of many small things costs far more to read than its bytes say, and nothing else runs meanwhile: so their
counts are bounded before they are read, and so are the violations that are reported.
"""

from collections.abc import Callable, Mapping, Sequence

from google.protobuf import duration_pb2

from caller.credentials import PATH, TYPED_PATH
from caller.errors import CredentialInvalid, Violation
from caller.json_types import JsonObject
from caller.messages import ToolDefinition
from caller.target import Ask, Target, Timeouts
from integration_api.calls.limits import CallLimits
from integration_api.chat.fields import struct_object
from integration_api.chat.messages import messages_of
from integration_api.chat.view import ChatRequest
from integration_api.codec.bounds import (
    MAX_CREDENTIAL_VALUES,
    MAX_LABEL_CHARS,
    MAX_LABEL_NAME_CHARS,
    MAX_LABELS,
    MAX_PREWARM_CONNECTIONS,
    MAX_PREWARM_TARGETS,
    Violations,
    check_size,
    refuse,
)
from integration_api.codec.structs import Budget, NotJsonError, struct_to_object
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

ReadTools = Callable[[Sequence[bytes], Violations], Sequence[ToolDefinition]]


def chat_call(
    request: ChatRequest, credential: JsonObject, read_tools: ReadTools, limits: CallLimits
) -> tuple[Ask, Target]:
    """What a request asks, and of whom, within the server's `limits`; `read_tools` reads its tools.

    Raises:
        RequestInvalid: with one violation per field.
    """
    violations = Violations()
    labels: Mapping[str, str] = {}
    if request.labels:
        _check_labels(request.labels, violations)
        labels = dict(request.labels)
    messages = messages_of(request.messages, violations)
    tools = read_tools(request.tools, violations)
    parameters = struct_object("model_parameters", request.model_parameters, violations)
    typed: frozenset[str] = frozenset()
    if request.HasField("model"):
        fields = _typed_parameters(request.model, parameters)
        parameters, typed = {**fields, **parameters}, frozenset(fields)
    timeouts, attempts = limits.timeouts, limits.max_attempts
    if request.HasField("timeouts"):
        timeouts = _timeouts(request.timeouts, timeouts, violations)
    if request.options.HasField("max_attempts"):
        if request.options.max_attempts == 0:
            violations.append(Violation("options.max_attempts", "must be at least 1"))
        attempts = min(attempts, request.options.max_attempts)
    refuse(violations)
    ask = Ask(messages, tools, parse_think_tags=request.options.parse_think_tags, labels=labels)
    path = credential_path(request.credential)
    return ask, Target(
        request.provider_id,
        credential,
        timeouts,
        parameters,
        attempts,
        credential_path=path,
        typed_parameters=typed,
    )


def prewarm_connections(request: pb.PrewarmRequest) -> int:
    """How many connections are asked for, for each target.

    Raises:
        RequestInvalid: with one violation per field.
    """
    violations = Violations()
    if not 0 < len(request.targets) <= MAX_PREWARM_TARGETS:
        violations.append(Violation("targets", f"must be 1 to {MAX_PREWARM_TARGETS}"))
    if request.connections > MAX_PREWARM_CONNECTIONS:
        violations.append(Violation("connections", f"must be at most {MAX_PREWARM_CONNECTIONS}"))
    refuse(violations)
    return request.connections or 1


def credential_value(credential: msg.Credential, source: str | None) -> JsonObject:
    """The credential object of a request that carries it itself, in a Struct or in typed fields; `source` is which.

    Raises:
        CredentialInvalid: there is none, it is empty, or it is not JSON.
    """
    if source == "endpoint":
        return _typed_credential(credential.endpoint)
    if source == "value" and not credential.value.fields:
        # What a plain object becomes in JavaScript, where a Struct's entries stand under `fields`.
        field = f"{PATH}.baseUrl"
        advice = (
            "is missing, and so is all else: a Struct's entries stand under `fields`; or give `credential.endpoint`"
        )
        raise CredentialInvalid(f"{field}: {advice}", violations=[Violation(field, advice)])
    if source != "value":
        field = PATH
        advice = 'is missing: give {"baseUrl": "http://…/v1", "headers": {…}} or the name of a stored credential'
        raise CredentialInvalid(f"{field}: {advice}", violations=[Violation(field, advice)])
    try:
        check_size(credential.value)
        return struct_to_object(credential.value, budget=Budget(MAX_CREDENTIAL_VALUES, texts=False))
    except NotJsonError as error:
        raise CredentialInvalid(f"{PATH}: {error}", violations=[Violation(PATH, str(error))]) from None


def credential_path(credential: msg.Credential) -> str:
    """Where the credential of a request stands in it, for violations."""
    return TYPED_PATH if credential.HasField("endpoint") else PATH


def _typed_credential(endpoint: msg.Endpoint) -> JsonObject:
    """The typed fields that are set, under their own names: a Struct may have these, too."""
    given: JsonObject = {field.name: value for field, value in endpoint.ListFields()}
    if endpoint.headers:
        given["headers"] = dict(endpoint.headers)
    return given


def parameters_of(path: str, wire: msg.Target, violations: Violations) -> tuple[JsonObject, frozenset[str]]:
    """The parameters that a target gives, and the names of those that are fields; `path` is that of its Struct."""
    parameters = struct_object(path, wire.model_parameters, violations)
    fields = _typed_parameters(wire.model, parameters) if wire.HasField("model") else {}
    return {**fields, **parameters}, frozenset(fields)


def _typed_parameters(model: msg.ModelOptions, given: JsonObject) -> JsonObject:
    """The typed fields under their bare names, but for those that the Struct has under the same."""
    typed: JsonObject = {
        name: getattr(model, name)
        for name in ("temperature", "top_p", "max_tokens", "seed")
        if model.HasField(name) and name not in given
    }
    if model.stop and "stop" not in given:
        typed["stop"] = list(model.stop)
    if model.HasField("name") and "model.name" not in given:
        typed["model.name"] = model.name
    return typed


def _check_labels(labels: Mapping[str, str], violations: Violations) -> None:
    if len(labels) > MAX_LABELS:
        violations.append(Violation("labels", f"must be at most {MAX_LABELS}"))
        return
    for name, text in labels.items():
        if not 0 < len(name) <= MAX_LABEL_NAME_CHARS:
            violations.append(Violation("labels", f"must have names of 1 to {MAX_LABEL_NAME_CHARS} characters"))
        elif len(text) > MAX_LABEL_CHARS:
            violations.append(Violation(f'labels["{name}"]', f"must be at most {MAX_LABEL_CHARS} characters"))


def _timeouts(wire: pb.Timeouts, bounds: Timeouts, violations: Violations) -> Timeouts:
    given = {field.name: value for field, value in wire.ListFields()}
    return Timeouts(
        connect=_timeout("connect", given.get("connect"), bounds.connect, violations),
        first_output=_timeout("first_output", given.get("first_output"), bounds.first_output, violations),
        between_outputs=_timeout("between_outputs", given.get("between_outputs"), bounds.between_outputs, violations),
        total=_timeout("total", given.get("total"), bounds.total, violations),
    )


def _timeout(name: str, wire: duration_pb2.Duration | None, bound: float, violations: Violations) -> float:
    if wire is None:
        return bound
    seconds = wire.seconds + wire.nanos / 1e9
    if seconds <= 0:
        violations.append(Violation(f"timeouts.{name}", "must be more than zero"))
        return bound
    return min(seconds, bound)
