"""Reading a request of OpenAI's Chat Completions.

Rule: only what comes in; what goes out stands in `chat`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from integration_api.sandbox.api_format import RawRequest, Turn, begin
from integration_api.sandbox.check import Fields, refuse
from integration_api.sandbox.scenario import Offered, Request
from integration_api.sandbox.wire import Json

_ROLES: Final = ("developer", "system", "user", "assistant", "tool", "function")
_PARTS: Final[Mapping[str, str]] = MappingProxyType(
    {"text": "text", "refusal": "refusal", "image_url": "", "input_audio": "", "file": ""}
)


def read(asked: RawRequest) -> Request:
    """The request. Raises RefusedError."""
    body = asked.body
    model = body.need_text("model")
    turns = _conversation(body.need_objects("messages"))
    limit, tools = _parameters(body)
    stream = body.flag("stream")
    options = body.object("stream_options")
    if options is not None and not stream:
        raise refuse("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    top = body.whole("top_logprobs", 0, 20)
    if top is not None and not body.flag("logprobs"):
        raise body.bad("top_logprobs", "'top_logprobs' needs 'logprobs' set to true.")
    request = begin(model, turns, f"The model `{model}` does not exist or you do not have access to it.")
    return replace(
        request,
        stream=stream,
        schema=_schema(body),
        tools=tools,
        limit=limit,
        choices=body.whole("n", 1, 128) or 1,
        logprobs=(top or 0) if body.flag("logprobs") else None,
        stream_usage=options is not None and options.flag("include_usage"),
    )


def _parameters(body: Fields) -> tuple[int | None, tuple[Offered, ...]]:
    """Checks the parameters; the limit of the answer and the tools among them."""
    body.number("temperature", 0, 2)
    body.number("top_p", 0, 1)
    body.number("presence_penalty", -2, 2)
    body.number("frequency_penalty", -2, 2)
    limits = [body.whole(name, 1) for name in ("max_tokens", "max_completion_tokens")]
    body.whole("seed", -(2**63), 2**63 - 1)
    body.texts("stop")
    body.text("user")
    body.object("metadata")
    body.flag("store")
    tools = body.objects("tools")
    offered: list[Offered] = []
    for tool in tools:
        if tool.need_text("type") == "function":
            function = tool.need_object("function")
            parameters = function.object("parameters")
            offered.append(Offered(function.need_text("name"), parameters.value if parameters else None))
    if not tools:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.has(name):
                raise body.bad(name, f"'{name}' is only allowed when 'tools' are specified.")
    return limits[0] or limits[1], tuple(offered)


def _schema(body: Fields) -> Json:
    form = body.object("response_format")
    if form is None or form.one_of("type", "text", "json_object", "json_schema") != "json_schema":
        return None
    wrapper = form.need_object("json_schema")
    wrapper.need_text("name")
    return wrapper.need_object("schema").value


def _conversation(messages: Iterable[Fields]) -> list[Turn]:
    turns: list[Turn] = []
    waiting: set[str] = set()
    for message in messages:
        role = message.one_of("role", *_ROLES)
        calls = message.objects("tool_calls")
        text = _content(message, needed=not (role == "assistant" and (calls or message.has("refusal"))))
        if role == "tool":
            call_id = message.need_text("tool_call_id")
            if call_id not in waiting:
                rule = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
                raise refuse(f"Invalid parameter: {rule}", message.param("role"))
            waiting.remove(call_id)
        else:
            _all_answered(waiting)
        waiting |= {_call_id(call) for call in calls}
        turns.append(Turn(text, asked=role == "user", result=role == "tool"))
    _all_answered(waiting)
    return turns


def _all_answered(waiting: set[str]) -> None:
    if waiting:
        raise refuse(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(sorted(waiting))}",
            "messages",
        )


def _call_id(call: Fields) -> str:
    call.one_of("type", "function")
    function = call.need_object("function")
    function.need_text("name")
    if not isinstance(function.raw("arguments"), str):
        raise function.missing("arguments")
    return call.need_text("id")


def _content(message: Fields, *, needed: bool) -> str:
    """The text of a message: a string, or the text parts of a list."""
    if isinstance(message.raw("content"), str):
        return message.text("content")
    if not message.has("content"):
        if needed:
            raise message.missing("content")
        return ""
    texts: list[str] = []
    for part in message.need_objects("content"):
        kind = part.one_of("type", *_PARTS)
        if _PARTS[kind]:
            texts.append(part.text(_PARTS[kind]))
        else:
            part.need_object(kind)
    return "\n".join(texts)
