"""Requests of Rapida's contract to domain values. Pure; what is wrong with a request is one violation with its path.

What the contract reads leniently is made strict here: names in any case, unknown keys of a credential. Its model
parameters are `parameters`'.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from caller.credentials import KEY, KEYS, KNOWN_KEYS, LEGACY_APIS, PATH, ApiCompatibility
from caller.errors import CredentialInvalid, RequestInvalid, Violation, clipped
from caller.json_types import JsonObject
from caller.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
)
from caller.providers import CUSTOM
from caller.target import Ask
from integration_api import unified_messages_pb2 as msg
from integration_api import unified_provider_pb2 as pb
from integration_api.codec.bounds import (
    MAX_CREDENTIAL_VALUES,
    MAX_MESSAGES,
    MAX_PIECES,
    MAX_SCHEMA_BYTES,
    MAX_TOOLS,
    Violations,
    check_size,
    refuse,
)
from integration_api.codec.structs import Budget, NotJsonError, value_to_json
from integration_api.rapida.parameters import model_parameters

_CONNECTION = "connection."
TRANSPORT = "connection.transport"
TURNS = "connection.turns"
# A request's id is repeated in every frame of its answer.
MAX_ID_CHARS = 256
_MAX_OPTION_CHARS = 64
_MOST_OPTIONS = 8
_APIS = frozenset({*(api.value for api in ApiCompatibility), *LEGACY_APIS})
# A function's parameters and the members of its lists nest in each other: three messages a level, and protobuf parsers
# stop at a hundred.
_MAX_SCHEMA_DEPTH = 24


def ask_of(request: pb.ChatRequest | pb.StreamChatInput) -> tuple[Ask, JsonObject]:
    """What a request, or a turn of a stream, asks; and its model parameters.

    Raises:
        RequestInvalid: with one violation per field.
    """
    violations = Violations()
    if len(request.requestId) > MAX_ID_CHARS:
        violations.append(Violation("requestId", f"must be at most {MAX_ID_CHARS} characters"))
    messages = _messages(request.conversations, violations)
    tools = _tools(request.toolDefinitions, violations)
    parameters = model_parameters(request.modelParameters, violations, tools=bool(tools))
    refuse(violations)
    return Ask(messages, tools, returns_state=False), parameters


def repeated_id(request: pb.ChatRequest | pb.StreamChatInput) -> str:
    """The request's id, as answers repeat it: of one that is too long, and refused for it, the beginning."""
    return request.requestId[:MAX_ID_CHARS]


def stored_name(credential: msg.Credential) -> str:
    """The name of the stored credential that is meant: `name` stands alone. Empty: the credential is here."""
    fields = credential.value.fields
    if "name" not in fields or any(key in fields for key in (*KNOWN_KEYS, KEY)):
        return ""
    return fields["name"].string_value


def credential_value(credential: msg.Credential, options: Mapping[str, str], provider: str) -> JsonObject:
    """The credential's known fields, with the API compatibility that the connection options ask for. A `key` is
    known of providers by name.

    Raises:
        CredentialInvalid: a field that JSON cannot hold.
        RequestInvalid: an unknown compatibility in the options.
    """
    fields = credential.value.fields
    try:
        check_size(credential.value)
        budget = Budget(MAX_CREDENTIAL_VALUES, texts=False)
        known = KNOWN_KEYS if provider.lower() == CUSTOM else KNOWN_KEYS | {KEY}
        value = {key: value_to_json(fields[key], 0, budget) for key in known if key in fields}
    except NotJsonError as error:
        raise CredentialInvalid(f"{PATH}: {error}", violations=[Violation(PATH, str(error))]) from None
    transport = options.get(TRANSPORT, "").strip()
    if transport:
        if transport not in _APIS:
            raise _bad_option(TRANSPORT, f"unsupported custom-llm transport option: {clipped(transport, 100)}")
        for spelling in KEYS["apiCompatibility"]:
            value.pop(spelling, None)
        value["apiCompatibility"] = transport
    return value


def turns_wait(options: Mapping[str, str]) -> bool:
    """Whether turns wait for each other instead of superseding each other.

    Raises:
        RequestInvalid: an unknown word.
    """
    match options.get(TURNS, "").strip().lower():
        case "" | "supersede":
            return False
        case "queue":
            return True
        case _:
            raise _bad_option(TURNS, f"unsupported {TURNS} option; known are supersede and queue")


def unknown_options(options: Mapping[str, str]) -> list[str]:
    """Names of connection options that nobody reads here, cut to what a log may show; their values may be secrets."""
    unknown = (name for name in sorted(options) if name.startswith(_CONNECTION) and name not in (TRANSPORT, TURNS))
    return [clipped(name, _MAX_OPTION_CHARS) for name in islice(unknown, _MOST_OPTIONS)]


def _bad_option(option: str, text: str) -> RequestInvalid:
    return RequestInvalid(text, violations=[Violation(f'connectionOptions["{option}"]', text)])


# -- history -------------------------------------------------------------------------------------------------------


def _messages(wire: Sequence[msg.Message], violations: Violations) -> tuple[Message, ...]:
    if len(wire) > MAX_MESSAGES:
        violations.append(Violation("conversations", f"must be at most {MAX_MESSAGES}"))
        return ()
    if sum(map(_pieces, wire)) > MAX_PIECES:
        violations.append(Violation("conversations", f"must hold at most {MAX_PIECES} contents and calls together"))
        return ()
    messages: list[Message] = []
    for number, message in enumerate(wire):
        messages += _message(f"conversations[{number}]", message, violations)
    if not messages and not violations:
        violations.append(Violation("conversations", "must hold at least one message that is not empty"))
    return tuple(messages)


def _pieces(wire: msg.Message) -> int:
    """How much of it has a count of its own; each of these is empty in roles that have none."""
    return len(wire.assistant.contents) + len(wire.assistant.toolCalls) + len(wire.tool.tools)


def _message(path: str, wire: msg.Message, violations: Violations) -> Iterable[Message]:
    match wire.WhichOneof("message"):
        case "user":
            return (UserMessage((TextPart(wire.user.content),)),)
        case "assistant":
            return _assistant(f"{path}.assistant", wire.assistant, violations)
        case "system":
            return (SystemMessage(wire.system.content),) if wire.system.content else ()
        case "tool":
            return [
                _tool_message(f"{path}.tool.tools[{number}]", tool, violations)
                for number, tool in enumerate(wire.tool.tools)
            ]
        case _:
            violations.append(Violation(path, "must hold one of user, assistant, tool and system"))
            return ()


def _assistant(path: str, wire: msg.AssistantMessage, violations: Violations) -> Iterable[Message]:
    text = "".join(wire.contents)
    if not text and not wire.toolCalls:
        return ()
    calls = []
    for number, call in enumerate(wire.toolCalls):
        for name, value in (("id", call.id), ("function.name", call.function.name)):
            if not value:
                violations.append(Violation(f"{path}.toolCalls[{number}].{name}", "must not be empty"))
        # Models call a tool without arguments with an empty text; replayed as it is, servers refuse it.
        arguments = violations.json_text(f"{path}.toolCalls[{number}].function.arguments", call.function.arguments)
        calls.append(ToolCall(call.id, call.function.name, arguments or "{}"))
    return (AssistantMessage(text=text, tool_calls=tuple(calls)),)


def _tool_message(path: str, wire: msg.ToolMessage.Tool, violations: Violations) -> Message:
    if not wire.id:
        violations.append(Violation(f"{path}.id", "must not be empty: it names the tool call that is answered"))
    content = violations.json_text(f"{path}.content", wire.content)
    return ToolMessage(tool_call_id=wire.id, name=wire.name, content=(TextPart(content),))


# -- tools ---------------------------------------------------------------------------------------------------------


def _tools(wire: Sequence[msg.ToolDefinition], violations: Violations) -> tuple[ToolDefinition, ...]:
    if len(wire) > MAX_TOOLS:
        violations.append(Violation("toolDefinitions", f"must be at most {MAX_TOOLS}"))
        return ()
    tools = []
    for number, tool in enumerate(wire):
        if tool.type != "function":
            continue
        path = f"toolDefinitions[{number}].functionDefinition"
        function = tool.functionDefinition
        if not function.name:
            violations.append(Violation(f"{path}.name", "must not be empty"))
        schema: JsonObject | None = None
        if function.parameters.ByteSize() > MAX_SCHEMA_BYTES:
            violations.append(Violation(f"{path}.parameters", f"must be at most {MAX_SCHEMA_BYTES} bytes"))
        elif function.HasField("parameters"):
            schema = _schema(f"{path}.parameters", function.parameters, violations, 0)
        tools.append(ToolDefinition(function.name, function.description, schema))
    return tuple(tools)


def _schema(path: str, wire: msg.FunctionParameter, violations: Violations, depth: int) -> JsonObject:
    if depth > _MAX_SCHEMA_DEPTH:
        violations.append(Violation(path, f"is nested more than {_MAX_SCHEMA_DEPTH} levels deep"))
        return {}
    kind = wire.type or "object"
    schema: JsonObject = {"type": kind}
    if wire.properties or kind == "object":
        schema["properties"] = {
            name: _property(f"{path}.properties[{name[:64]!r}]", wire.properties[name], violations, depth)
            for name in sorted(wire.properties)
        }
    if wire.required:
        schema["required"] = list(wire.required)
    return schema


def _property(path: str, wire: msg.FunctionParameterProperty, violations: Violations, depth: int) -> JsonObject:
    schema: JsonObject = {}
    if wire.type:
        schema["type"] = wire.type
    if wire.description:
        schema["description"] = wire.description
    if wire.enum:
        schema["enum"] = list(wire.enum)
    if wire.HasField("items"):
        schema["items"] = _schema(f"{path}.items", wire.items, violations, depth + 1)
    return schema
