"""Requests in one line each: messages, credentials, tools.

Rule: plain values in, the contract's messages out. What is missing or wrong is for the service to say, which names the
field; nothing is checked twice.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration

from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

# For `timeouts`: how long somebody on a phone waits before the line seems dead. In seconds.
VOICE_TIMEOUTS: Final[Mapping[str, float]] = MappingProxyType(
    {"connect": 1.0, "first_output": 3.0, "between_outputs": 2.0, "total": 30.0}
)


def chat_request(
    messages: str | Iterable[msg.Message],
    *,
    model: str,
    credential: msg.Credential,
    provider: str = "custom-llm",
    parameters: Mapping[str, object] | None = None,
    tools: Sequence[msg.ToolDefinition] = (),
    timeouts: Mapping[str, float] | None = None,
    fallbacks: Sequence[msg.Target] = (),
    hedge_after: float | None = None,
    labels: Mapping[str, str] | None = None,
    request_id: str = "",
) -> pb.ChatRequest:
    """A request for Chat and StreamChat.

    Args:
        messages: the conversation, oldest first; a text alone is one message of the user.
        model: its name at the endpoint.
        credential: made by `endpoint`, `provider_key` or `stored`.
        provider: the provider's id; `custom-llm` is any endpoint.
        parameters: of the model, by the contract's names, such as `{"model.temperature": 0.4}`.
        tools: made by `tool`.
        timeouts: seconds by name: connect, first_output, between_outputs, total; `VOICE_TIMEOUTS` for conversations.
        fallbacks: whom to ask where this target fails before its first output; made by `target`.
        hedge_after: seconds without a first output after which the next fallback is asked, too: the first output wins.
        labels: go into the service's log line and audit entry.
        request_id: for the service's log; it makes one where this is empty.

    Raises:
        ValueError: `timeouts` has a name that the contract does not.
    """
    request = pb.ChatRequest(
        request_id=request_id,
        provider_id=provider,
        credential=credential,
        messages=[user(messages)] if isinstance(messages, str) else messages,
        model=msg.ModelOptions(name=model),
        tools=tools,
        fallbacks=fallbacks,
        labels=labels,
    )
    if parameters:
        json_format.ParseDict(dict(parameters), request.model_parameters)
    if hedge_after is not None:
        request.options.hedge_after.CopyFrom(_duration(hedge_after))
    if timeouts:
        request.timeouts.CopyFrom(pb.Timeouts(**{name: _duration(seconds) for name, seconds in timeouts.items()}))
    return request


def target(
    credential: msg.Credential,
    *,
    model: str = "",
    provider: str = "",
    parameters: Mapping[str, object] | None = None,
    label: str = "",
) -> msg.Target:
    """Another target, for `fallbacks`. What is not given is the request's own; `label` names it in logs and errors."""
    made = msg.Target(
        provider_id=provider,
        credential=credential,
        label=label,
        model=msg.ModelOptions(name=model) if model else None,
    )
    if parameters:
        json_format.ParseDict(dict(parameters), made.model_parameters)
    return made


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def targets_of(request: pb.ChatRequest) -> list[msg.Target]:
    """Whom a request may reach: its own target and its fallbacks, each with its provider."""
    own = msg.Target(provider_id=request.provider_id, credential=request.credential)
    fallbacks = [
        msg.Target(provider_id=each.provider_id or request.provider_id, credential=each.credential)
        for each in request.fallbacks
    ]
    return [own, *fallbacks]


def endpoint(
    base_url: str,
    *,
    api: str = "openai_compatible",
    headers: Mapping[str, str] | None = None,
    exact_url: bool = False,
) -> msg.Credential:
    """The credential of an endpoint of one's own. `headers` hold its key: `{"Authorization": "Bearer …"}`."""
    made = msg.Endpoint(api_compatibility=api, base_url=base_url, headers=headers, exact_url=exact_url)
    return msg.Credential(endpoint=made)


def provider_key(key: str, *, base_url: str = "") -> msg.Credential:
    """The credential of a provider that the service knows by name: its key, and an address other than its own."""
    return msg.Credential(endpoint=msg.Endpoint(key=key, base_url=base_url))


def stored(name: str) -> msg.Credential:
    """A credential that the service holds."""
    return msg.Credential(name=name)


def system(text: str) -> msg.Message:
    """Rules for the conversation."""
    return msg.Message(system=msg.SystemMessage(text=text))


def user(*content: str | msg.ContentPart) -> msg.Message:
    """What the user says: texts and other parts, in order."""
    parts = [msg.ContentPart(text=part) if isinstance(part, str) else part for part in content]
    return msg.Message(user=msg.UserMessage(content=parts))


def assistant(said: str | msg.AssistantMessage) -> msg.Message:
    """What the model said: a text, or `answer.choices[0].message` as it came, with tool calls and provider state."""
    message = msg.AssistantMessage(text=said) if isinstance(said, str) else said
    return msg.Message(assistant=message)


def tool_result(call: msg.ToolCall | str, result: str, *, is_error: bool = False) -> msg.Message:
    """What a tool gave for a call, or for the id of one."""
    tool_call = msg.ToolCall(id=call) if isinstance(call, str) else call
    return msg.Message(
        tool=msg.ToolMessage(
            tool_call_id=tool_call.id,
            name=tool_call.name,
            content=[msg.ContentPart(text=result)],
            is_error=is_error,
        )
    )


def image(source: str | bytes, *, media_type: str = "") -> msg.ContentPart:
    """A picture for `user`: its URL, or its bytes with their media type."""
    made = msg.Image(url=source) if isinstance(source, str) else msg.Image(data=source, media_type=media_type)
    return msg.ContentPart(image=made)


def tool(name: str, description: str, parameters: Mapping[str, object]) -> msg.ToolDefinition:
    """A function that the model may call; `parameters` is its JSON schema, sent with the keys in their order."""
    return msg.ToolDefinition(
        name=name, description=description, parameters_json=json.dumps(parameters, separators=(",", ":"))
    )
