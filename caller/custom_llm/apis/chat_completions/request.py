"""A call as a Chat Completions request. Shared by the strict shape and by the compatible servers. No I/O.

Source of the wire facts: OpenAI's API reference; deviations name the server.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import HttpRequest, ResolvedCall
from caller.custom_llm.apis.chat_completions.changes import changed
from caller.custom_llm.apis.chat_completions.state import CUSTOM, STATE_SHAPE
from caller.custom_llm.apis.shared import (
    NO_ARGUMENTS,
    OwnChanges,
    ToolChoiceKind,
    arguments_json,
    data_url,
    get_json,
    hosted,
    part_field,
    plain_text,
    post_json,
    text_only,
    tool_choice_of,
    tools_json,
    unsupported,
)
from caller.custom_llm.base_url import Operation, join
from caller.custom_llm.request_body import mapped_to, merged, set_path
from caller.json_types import JsonObject, JsonValue, object_of, objects_of, without
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
from caller.provider_state import unseal

CHAT = Operation("chat/completions", siblings=("models",))
MODELS = Operation("models", siblings=("chat/completions",))
# Where each known parameter that the API has stands in the body.
PARAMETERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "max_tokens": "max_tokens",
        "max_completion_tokens": "max_completion_tokens",
        "frequency_penalty": "frequency_penalty",
        "presence_penalty": "presence_penalty",
        "seed": "seed",
        "n": "n",
        "stop": "stop",
        "tool_choice": "tool_choice",
        "parallel_tool_calls": "parallel_tool_calls",
        "response_format": "response_format",
        "reasoning_effort": "reasoning_effort",
        "verbosity": "verbosity",
        "user": "user",
        "metadata": "metadata",
        "logprobs": "logprobs",
        "top_logprobs": "top_logprobs",
        "logit_bias": "logit_bias",
        "store": "store",
        "service_tier": "service_tier",
    }
)


class _Ours(msgspec.Struct):
    """The optional fields that we add by ourselves: which of them went in, and which were left out as refused; and what
    was changed of the client's."""

    demands: Mapping[str, str]
    added: set[str] = msgspec.field(default_factory=set)
    left_out: set[str] = msgspec.field(default_factory=set)
    adapted: set[str] = msgspec.field(default_factory=set)

    def takes(self, name: str) -> bool:
        """Whether the endpoint takes the field, as far as is known."""
        (self.left_out if name in self.demands else self.added).add(name)
        return name not in self.demands

    def wanted(self, fields: JsonObject) -> JsonObject:
        """The fields that the endpoint takes."""
        return {name: value for name, value in fields.items() if self.takes(name)} if fields else {}


def chat_request(call: ResolvedCall, stream: bool, api: ApiCompatibility) -> HttpRequest:
    """The HTTP request of a call.

    Raises:
        NotSupportedByApi: something that this shape cannot carry.
        RequestInvalid: a parameter that cannot be read.
    """
    mapped = mapped_to(call.parameters, api, PARAMETERS)
    ours = _Ours(call.demands)
    body: JsonObject = {
        "model": call.parameters.model,
        "messages": _messages(call.messages, api, ours),
    }
    if call.tools:
        body["tools"] = tools_json(call, "chat_completions", _tools)
    for name, value in mapped.known.items():
        set_path(body, PARAMETERS[name], value)
    _tool_choice(body, call)
    if "top_logprobs" in body:
        body.setdefault("logprobs", True)
    merged(body, mapped.rest)
    if stream:
        body["stream"] = True
        _ask_for_usage(body, ours)
    if call.demands:
        ours.adapted |= changed(body, call)
    credential = call.credential
    url = join(credential.base_url, CHAT, exact=credential.exact_url)
    changes = OwnChanges(frozenset(ours.added), frozenset(ours.left_out), frozenset(ours.adapted))
    return post_json(url, credential.headers, body, stream=stream, changes=changes)


def models_request(credential: Credential, page: str) -> HttpRequest:
    """The request for the model list, which has one page."""
    del page
    return get_json(join(credential.base_url, MODELS), credential.headers)


def _ask_for_usage(body: JsonObject, ours: _Ours) -> None:
    asked = body.get("stream_options")
    if isinstance(asked, dict):
        body["stream_options"] = {"include_usage": True, **asked}
    elif asked is None and ours.takes("stream_options"):
        body["stream_options"] = {"include_usage": True}


def _tool_choice(body: JsonObject, call: ResolvedCall) -> None:
    choice = tool_choice_of(call.parameters)  # refuses words that no endpoint knows
    if choice is None:
        return
    if not call.tools:
        body.pop("tool_choice", None)  # documented: applied only when tools are present
    elif choice.kind is ToolChoiceKind.NAMED:
        if "function" not in object_of(choice.value):
            body["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice.kind is not ToolChoiceKind.OTHER:
        body["tool_choice"] = choice.kind.value


def _messages(messages: Sequence[Message], api: ApiCompatibility, ours: _Ours) -> list[JsonValue]:
    """The conversation. It is written anew on every turn: what most messages are costs no call for each of them."""
    written: list[JsonValue] = []
    wire: JsonObject
    for number, message in enumerate(messages):
        match message:
            case AssistantMessage():
                if message.tool_calls or message.provider_state or message.refusal:
                    wire = _assistant(message, ours)
                else:
                    wire = {"role": "assistant", "content": message.text}
            case UserMessage():
                match message.content:
                    case (TextPart() as part,) if not part.options:
                        wire = {"role": "user", "content": part.text}
                    case content:
                        wire = {"role": "user", "content": _content(number, content)}
            case ToolMessage():
                wire = {
                    "role": "tool",
                    "tool_call_id": message.tool_call_id,
                    "content": _tool_content(number, message, api),
                }
            case SystemMessage():
                wire = {"role": "system", "content": message.text}
            case DeveloperMessage():
                wire = {"role": _developer(api, ours), "content": message.text}
        written += (merged(wire, message.options) if message.options else wire,)
    return written


def _tool_content(number: int, message: ToolMessage, api: ApiCompatibility) -> JsonValue:
    """There is no field for failure: the model has to read it."""
    match message.content:
        case (TextPart() as part,) if not part.options:
            return f"Error: {part.text}" if message.is_error else part.text
        case _:
            pass
    text = text_only(number, "tool", message.content, api.value)
    if not any(part.options for part in message.content):
        return f"Error: {text}" if message.is_error else text
    failed: tuple[ContentPart, ...] = (TextPart("Error: "),) if message.is_error else ()
    return _content(number, (*failed, *message.content))


def _developer(api: ApiCompatibility, ours: _Ours) -> str:
    """Chat templates of self-hosted models know no `developer`; OpenAI's own models do, and some refuse `system`."""
    strict = api is ApiCompatibility.OPENAI_CHAT_COMPLETIONS
    return "developer" if strict or not ours.takes("developer_as_system") else "system"


def _assistant(message: AssistantMessage, ours: _Ours) -> JsonObject:
    """Arguments that are no JSON object (cut by a limit) would end every later turn at Ollama (400), llama.cpp and
    transformers-serve (500)."""
    state = unseal(STATE_SHAPE, message) or {}
    wire: JsonObject = {"role": "assistant"}
    if message.text or not message.tool_calls:
        wire["content"] = message.text  # TGI drops the tool calls of a message that has any content, even ""
    if message.refusal:
        wire["refusal"] = message.refusal
    if message.tool_calls:
        kept = objects_of(state.get("tool_calls"))
        wire["tool_calls"] = [
            _call(call, kept[number] if number < len(kept) else {}, ours)
            for number, call in enumerate(message.tool_calls)
        ]
    return wire | ours.wanted(object_of(state.get("message")))


def _call(call: ToolCall, kept: JsonObject, ours: _Ours) -> JsonObject:
    """A call; `kept` is what its endpoint put beside it."""
    extra = ours.wanted(without(kept, frozenset({"type"})))
    if kept.get("type") == CUSTOM:
        return {"id": call.id, "type": CUSTOM, CUSTOM: {"name": call.name, "input": call.arguments}, **extra}
    function: JsonObject = {"name": call.name, "arguments": arguments_json(call.arguments, ours.adapted)}
    return {"id": call.id, "type": "function", "function": function, **extra}


def _content(number: int, content: tuple[ContentPart, ...]) -> JsonValue:
    """One string when all is text: templates on vLLM, llama.cpp and TGI may refuse lists."""
    plain = plain_text(content)
    if plain is not None:
        return plain
    return [merged(_part(number, at, part), part.options) for at, part in enumerate(content)]


def _part(number: int, at: int, part: ContentPart) -> JsonObject:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            image: JsonObject = {"url": part.url or data_url(part.media_type, part.data)}
            if part.detail:
                image["detail"] = part.detail
            return {"type": "image_url", "image_url": image}
        case AudioPart():
            encoded = data_url("", part.data).partition(",")[2]
            return {"type": "input_audio", "input_audio": {"data": encoded, "format": part.format}}
        case FilePart():
            return {"type": "file", "file": _file(number, at, part)}


def _file(number: int, at: int, part: FilePart) -> JsonObject:
    if part.file_id:
        return {"file_id": part.file_id}
    if part.url and not part.url.startswith("data:"):
        raise unsupported(f"{part_field(number, 'user', at)}.file.url", "Chat Completions carries no file by URL")
    wire: JsonObject = {"file_data": part.url or data_url(part.media_type, part.data)}
    if part.filename:
        wire["filename"] = part.filename
    return wire


def _tools(tools: Sequence[ToolDefinition]) -> list[JsonValue]:
    return [hosted(tool) or _tool(tool) for tool in tools]


def _tool(tool: ToolDefinition) -> JsonValue:
    function: JsonObject = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = dict(NO_ARGUMENTS) if tool.parameters is None else tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    wire: JsonObject = {"type": "function", "function": function}
    return merged(wire, tool.options) if tool.options else wire
