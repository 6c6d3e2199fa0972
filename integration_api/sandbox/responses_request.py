"""Reading a request of OpenAI's Responses API.

Rule: only what comes in; what goes out stands in `responses`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from integration_api.sandbox.api_format import RawRequest, Turn, begin
from integration_api.sandbox.check import Fields, refuse
from integration_api.sandbox.scenario import Offered, Request
from integration_api.sandbox.signature import is_signed
from integration_api.sandbox.wire import Json, JsonObject

_PARTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "input_text": "text",
        "output_text": "text",
        "refusal": "refusal",
        "input_image": "",
        "input_file": "",
        "input_audio": "",
    }
)


def read(asked: RawRequest) -> Request:
    """The request. Raises RefusedError."""
    body = asked.body
    model = body.need_text("model")
    turns = _conversation(body)
    tools = _parameters(body)
    include = body.texts("include")
    top = body.whole("top_logprobs", 0, 20)
    request = begin(model, turns, f"The requested model '{model}' does not exist.")
    return replace(
        request,
        stream=body.flag("stream"),
        schema=_schema(body),
        tools=tools,
        limit=body.whole("max_output_tokens", 1),
        logprobs=(top or 0) if "message.output_text.logprobs" in include else None,
        signed_wanted="reasoning.encrypted_content" in include,
        echoed=tuple(_echoed(body).items()),
    )


def _parameters(body: Fields) -> tuple[Offered, ...]:
    """Checks the parameters; the functions among the tools."""
    body.number("temperature", 0, 2)
    body.number("top_p", 0, 1)
    body.whole("max_output_tokens", 1)
    body.whole("max_tool_calls", 1)
    for name in ("store", "parallel_tool_calls", "background"):
        body.flag(name)
    for name in ("reasoning", "metadata", "stream_options"):
        body.object(name)
    tools = body.objects("tools")
    offered: list[Offered] = []
    for tool in tools:
        if tool.need_text("type") == "function":
            parameters = tool.object("parameters")
            offered.append(Offered(tool.need_text("name"), parameters.value if parameters else None))
    if not tools and body.raw("tool_choice") not in (None, "auto", "none"):
        raise body.bad("tool_choice", "a tool choice needs 'tools'.")
    if body.has("previous_response_id"):
        raise refuse(
            f"Previous response with id '{body.text('previous_response_id')}' not found.",
            "previous_response_id",
            "previous_response_not_found",
        )
    return tuple(offered)


def _schema(body: Fields) -> Json:
    text = body.object("text")
    form = text.object("format") if text else None
    if form is None or form.one_of("type", "text", "json_object", "json_schema") != "json_schema":
        return None
    form.need_text("name")
    return form.need_object("schema").value


def _echoed(body: Fields) -> JsonObject:
    """Fields that the response object repeats, with the defaults of the API."""
    defaults: JsonObject = {
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
    }
    echoed = {name: default if body.raw(name) is None else body.raw(name) for name, default in defaults.items()}
    echoed["tools"] = [{"strict": True, "parameters": None, **tool.value} for tool in body.objects("tools")]
    return echoed


def _conversation(body: Fields) -> list[Turn]:
    turns = [Turn(body.text("instructions"))] if body.has("instructions") else []
    if isinstance(body.raw("input"), str):
        return [*turns, Turn(body.text("input"), asked=True)]
    return [*turns, *_items(body.need_objects("input"))]


def _items(items: Iterable[Fields]) -> Iterable[Turn]:
    waiting: set[str] = set()
    reasoning: Fields | None = None
    for item in items:
        kind = item.text("type") or "message"
        if reasoning is not None and kind == "function_call_output":
            raise _alone(reasoning)
        reasoning = None
        match kind:
            case "message":
                role = item.one_of("role", "user", "assistant", "system", "developer")
                yield Turn(_content(item), asked=role == "user")
            case "function_call":
                item.need_text("name")
                if not isinstance(item.raw("arguments"), str):
                    raise item.missing("arguments")
                waiting.add(item.need_text("call_id"))
            case "function_call_output":
                yield _output(item, waiting)
            case "reasoning":
                _check_signature(item)
                reasoning = item
            case _:
                raise item.bad("type", f"'{kind}' is no item that the sandbox knows.")
    if reasoning is not None:
        raise _alone(reasoning)
    if waiting:
        raise refuse(f"No tool output found for function call {min(waiting)}.", "input")


def _output(item: Fields, waiting: set[str]) -> Turn:
    call_id = item.need_text("call_id")
    if call_id not in waiting:
        raise refuse(f"No tool call found for function call output with call_id {call_id}.", "input")
    waiting.remove(call_id)
    output = item.raw("output")
    if output is None:
        raise item.missing("output")
    return Turn(output if isinstance(output, str) else _parts(item, "output"), result=True)


def _check_signature(item: Fields) -> None:
    item.objects("summary")
    content = item.text("encrypted_content")
    if content and not is_signed(content):
        raise refuse(
            "The encrypted content for item could not be verified.",
            item.param("encrypted_content"),
            "invalid_encrypted_content",
        )


def _alone(item: Fields) -> Exception:
    name = item.text("id") or item.path
    return refuse(f"Item '{name}' of type 'reasoning' was provided without its required following item.", "input")


def _content(item: Fields) -> str:
    return item.text("content") if isinstance(item.raw("content"), str) else _parts(item, "content")


def _parts(item: Fields, name: str) -> str:
    texts: list[str] = []
    for part in item.need_objects(name):
        kind = part.one_of("type", *_PARTS)
        if _PARTS[kind]:
            texts.append(part.text(_PARTS[kind]))
    return "\n".join(texts)
