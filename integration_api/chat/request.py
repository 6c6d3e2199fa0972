"""Requests of `integration_api.v1` to domain values. Pure; what is wrong with a request is one violation with its path.

A request of many small things costs far more to read than its bytes say, and nothing else runs meanwhile: so their
counts are bounded before they are read, and the violations that are told, too.
"""

from collections.abc import Mapping, Sequence

from google.protobuf import duration_pb2, struct_pb2

from caller.errors import CredentialInvalid, Violation
from caller.json_types import JsonObject, values_at_most
from caller.messages import (
    AssistantMessage,
    AudioPart,
    ContentPart,
    DeveloperMessage,
    FilePart,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
)
from caller.parameters import object_from_text
from caller.target import Ask, Target, Timeouts
from integration_api.codec.bounds import (
    MAX_CREDENTIAL_VALUES,
    MAX_LABEL_CHARS,
    MAX_LABEL_NAME_CHARS,
    MAX_LABELS,
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_PIECES,
    MAX_SCHEMA_BYTES,
    MAX_TOOL_NAME_CHARS,
    MAX_TOOLS,
    Violations,
    check_size,
    refuse,
)
from integration_api.codec.structs import MAX_VALUES, Budget, NotJsonError, struct_to_object
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg


def chat_call(
    request: pb.ChatRequest, credential: JsonObject, timeouts: Timeouts, max_attempts: int
) -> tuple[Ask, Target]:
    """What a request asks, and of whom. `timeouts` and `max_attempts` are the server's own, and the upper bounds.

    Raises:
        RequestInvalid: with one violation per field.
    """
    violations = Violations()
    _check_labels(request.labels, violations)
    messages = _messages(request.messages, violations)
    tools = tuple(_tool(number, tool, violations) for number, tool in enumerate(request.tools[:MAX_TOOLS]))
    if len(request.tools) > MAX_TOOLS:
        violations.append(Violation("tools", f"must be at most {MAX_TOOLS}"))
    parameters = _object("model_parameters", request.model_parameters, violations)
    if request.HasField("model"):
        parameters = {**_typed_parameters(request.model, parameters), **parameters}
    bounded = _timeouts(request.timeouts, timeouts, violations)
    attempts = max_attempts
    if request.options.HasField("max_attempts"):
        if request.options.max_attempts == 0:
            violations.append(Violation("options.max_attempts", "must be at least 1"))
        attempts = min(max_attempts, request.options.max_attempts)
    refuse(violations)
    ask = Ask(messages, tools, parse_think_tags=request.options.parse_think_tags, labels=dict(request.labels))
    return ask, Target(request.provider_id, credential, bounded, parameters, attempts)


def credential_value(credential: msg.Credential) -> JsonObject:
    """The credential object of a request that carries it itself, in a Struct or in typed fields.

    Raises:
        CredentialInvalid: there is none, it is empty, or it is not JSON.
    """
    source = credential.WhichOneof("source")
    if source == "endpoint":
        return _typed_credential(credential.endpoint)
    if source == "value" and not credential.value.fields:
        # What a plain object becomes in JavaScript, where a Struct's entries stand under `fields`.
        field = "credential.value.baseUrl"
        advice = (
            "is missing, and so is all else: a Struct's entries stand under `fields`; or give `credential.endpoint`"
        )
        raise CredentialInvalid(f"{field}: {advice}", violations=[Violation(field, advice)])
    if source != "value":
        field = "credential.value"
        advice = 'is missing: give {"baseUrl": "http://…/v1", "headers": {…}} or the name of a stored credential'
        raise CredentialInvalid(f"{field}: {advice}", violations=[Violation(field, advice)])
    try:
        check_size(credential.value)
        return struct_to_object(credential.value, budget=Budget(MAX_CREDENTIAL_VALUES, texts=False))
    except NotJsonError as fault:
        violation = Violation("credential.value", str(fault))
        raise CredentialInvalid(f"credential.value: {fault}", violations=[violation]) from None


def _typed_credential(endpoint: msg.Endpoint) -> JsonObject:
    """The typed fields under the names that a Struct has."""
    given: JsonObject = {}
    if endpoint.api_compatibility:
        given["apiCompatibility"] = endpoint.api_compatibility
    if endpoint.base_url:
        given["baseUrl"] = endpoint.base_url
    if endpoint.headers:
        given["headers"] = dict(endpoint.headers)
    if endpoint.exact_url:
        given["exactUrl"] = True
    if endpoint.key:
        given["key"] = endpoint.key
    return given


def _typed_parameters(model: msg.ModelOptions, given: JsonObject) -> JsonObject:
    """The typed fields under their bare names; the model's name only where the Struct gives none."""
    typed: JsonObject = {
        name: getattr(model, name) for name in ("temperature", "top_p", "max_tokens", "seed") if model.HasField(name)
    }
    if model.stop:
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


def _object(path: str, struct: struct_pb2.Struct, violations: Violations) -> JsonObject:
    try:
        return struct_to_object(struct, budget=violations.budget)
    except NotJsonError as fault:
        violations.append(Violation(path, str(fault)))
        return {}


def _messages(wire: Sequence[msg.Message], violations: Violations) -> tuple[Message, ...]:
    if not wire:
        violations.append(Violation("messages", "must hold at least one message"))
    if len(wire) > MAX_MESSAGES:
        violations.append(Violation("messages", f"must be at most {MAX_MESSAGES}"))
        return ()
    if sum(map(_pieces, wire)) > MAX_PIECES:
        violations.append(Violation("messages", f"must hold at most {MAX_PIECES} parts and tool calls together"))
        return ()
    messages = [_message(f"messages[{number}]", message, violations) for number, message in enumerate(wire)]
    return tuple([message for message in messages if message is not None])


def _pieces(wire: msg.Message) -> int:
    """How much of it has a count of its own."""
    match wire.WhichOneof("role"):
        case "user":
            return len(wire.user.content)
        case "tool":
            return len(wire.tool.content)
        case "assistant":
            return len(wire.assistant.tool_calls)
        case _:
            return 0


def _message(path: str, wire: msg.Message, violations: Violations) -> Message | None:
    given = wire.HasField("provider_options")
    options = _object(f"{path}.provider_options", wire.provider_options, violations) if given else {}
    match wire.WhichOneof("role"):
        case "system":
            _need(wire.system.text, f"{path}.system.text", violations)
            return SystemMessage(wire.system.text, options)
        case "developer":
            _need(wire.developer.text, f"{path}.developer.text", violations)
            return DeveloperMessage(wire.developer.text, options)
        case "user":
            content = _content(f"{path}.user.content", wire.user.content, violations)
            if not content:
                violations.append(Violation(f"{path}.user.content", "must hold at least one part"))
            return UserMessage(content, options)
        case "assistant":
            return _assistant(path, wire.assistant, options, violations)
        case "tool":
            return _tool_message(path, wire.tool, options, violations)
        case _:
            violations.append(Violation(path, "must have a role: system, developer, user, assistant or tool"))
            return None


def _assistant(path: str, wire: msg.AssistantMessage, options: JsonObject, violations: Violations) -> AssistantMessage:
    calls: list[ToolCall] = []
    for number, call in enumerate(wire.tool_calls):
        at = f"{path}.assistant.tool_calls[{number}]"
        _need(call.id, f"{at}.id", violations)
        _need(call.name, f"{at}.name", violations)
        arguments = violations.json_text(f"{at}.arguments", call.arguments)
        calls.append(ToolCall(call.id, call.name, arguments or "{}"))
    if wire.provider_state and values_at_most(wire.provider_state) > MAX_VALUES:
        violations.append(Violation(f"{path}.assistant.provider_state", f"holds more than {MAX_VALUES} values"))
    return AssistantMessage(
        text=wire.text,
        refusal=wire.refusal,
        reasoning=wire.reasoning,
        tool_calls=tuple(calls),
        provider_state=wire.provider_state,
        options=options,
    )


def _tool_message(path: str, wire: msg.ToolMessage, options: JsonObject, violations: Violations) -> ToolMessage:
    _need(wire.tool_call_id, f"{path}.tool.tool_call_id", violations)
    for number, part in enumerate(wire.content[:MAX_PARTS]):
        violations.json_text(f"{path}.tool.content[{number}].text", part.text)  # Gemini gets it as an object
    return ToolMessage(
        tool_call_id=wire.tool_call_id,
        name=wire.name,
        content=_content(f"{path}.tool.content", wire.content, violations) or (TextPart(""),),
        is_error=wire.is_error,
        options=options,
    )


def _content(path: str, wire: Sequence[msg.ContentPart], violations: Violations) -> tuple[ContentPart, ...]:
    if len(wire) > MAX_PARTS:
        violations.append(Violation(path, f"must hold at most {MAX_PARTS} parts"))
        return ()
    parts = [_part(f"{path}[{number}]", part, violations) for number, part in enumerate(wire)]
    return tuple([part for part in parts if part is not None])


def _part(path: str, wire: msg.ContentPart, violations: Violations) -> ContentPart | None:
    given = wire.HasField("provider_options")
    options = _object(f"{path}.provider_options", wire.provider_options, violations) if given else {}
    match wire.WhichOneof("part"):
        case "text":
            return TextPart(wire.text, options)
        case "image":
            image = wire.image
            if bool(image.url) == bool(image.data):
                violations.append(Violation(f"{path}.image", "must have either a url or data"))
            elif image.data:
                _need(image.media_type, f"{path}.image.media_type", violations)
            return ImagePart(image.url, image.data, image.media_type, image.detail, options)
        case "audio":
            _need(wire.audio.data, f"{path}.audio.data", violations)
            _need(wire.audio.format, f"{path}.audio.format", violations)
            return AudioPart(wire.audio.data, wire.audio.format, options)
        case "file":
            file = wire.file
            if sum(map(bool, (file.url, file.data, file.file_id))) != 1:
                violations.append(Violation(f"{path}.file", "must have exactly one of url, data and file_id"))
            elif file.data:
                _need(file.media_type, f"{path}.file.media_type", violations)
            return FilePart(file.url, file.data, file.media_type, file.filename, file.file_id, options)
        case _:
            violations.append(Violation(path, "must be text, image, audio or file"))
            return None


def _tool(number: int, wire: msg.ToolDefinition, violations: Violations) -> ToolDefinition:
    path = f"tools[{number}]"
    hosted = _hosted(path, wire, violations) if wire.HasField("hosted") else None
    if hosted is None:
        _need(wire.name, f"{path}.name", violations)
    if len(wire.name) > MAX_TOOL_NAME_CHARS:
        violations.append(Violation(f"{path}.name", f"must be at most {MAX_TOOL_NAME_CHARS} characters"))
    parameters: JsonObject | None = None
    match wire.WhichOneof("schema"):
        case "parameters":
            parameters = _object(f"{path}.parameters", wire.parameters, violations)
        case "parameters_json":
            text = wire.parameters_json
            if len(text) <= MAX_SCHEMA_BYTES:
                text = violations.json_text(f"{path}.parameters_json", text)
            parameters = object_from_text(text) if len(text) <= MAX_SCHEMA_BYTES else None
            if len(text) > MAX_SCHEMA_BYTES:
                violations.append(Violation(f"{path}.parameters_json", f"must be at most {MAX_SCHEMA_BYTES} bytes"))
            elif parameters is None:
                violations.append(Violation(f"{path}.parameters_json", "must be JSON text of an object"))
        case _:
            pass  # a tool without arguments
    return ToolDefinition(
        name=wire.name,
        description=wire.description,
        parameters=parameters,
        strict=wire.strict if wire.HasField("strict") else None,
        hosted=hosted,
        options=_object(f"{path}.provider_options", wire.provider_options, violations),
    )


def _hosted(path: str, wire: msg.ToolDefinition, violations: Violations) -> JsonObject:
    if wire.description or wire.WhichOneof("schema") or wire.HasField("strict"):
        violations.append(Violation(f"{path}.hosted", "must stand without description, schema and strict"))
    if not wire.hosted.fields:
        violations.append(Violation(f"{path}.hosted", "must not be empty"))
    return _object(f"{path}.hosted", wire.hosted, violations)


def _need(value: str | bytes, path: str, violations: Violations) -> None:
    if not value:
        violations.append(Violation(path, "must not be empty"))


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
