"""Reading a request of Anthropic's Messages API.

Rule: only what comes in; what goes out stands in `messages`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from integration_api.sandbox.api_format import RawRequest, Turn, begin
from integration_api.sandbox.check import Fields, RefusedError, refuse
from integration_api.sandbox.scenario import Offered, Request
from integration_api.sandbox.signature import is_signed
from integration_api.sandbox.wire import Json

# The blocks a message may hold, each with the field that must be there.
_BLOCKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "text": "text",
        "image": "source",
        "document": "source",
        "tool_use": "id",
        "tool_result": "tool_use_id",
        "thinking": "signature",
        "redacted_thinking": "data",
    }
)


def read(asked: RawRequest) -> Request:
    """The request. Raises RefusedError."""
    body = asked.body
    if not asked.headers.get("anthropic-version"):
        raise refuse("anthropic-version: header is required")
    model = body.need_text("model")
    limit = body.whole("max_tokens", 1)
    if limit is None:
        raise body.missing("max_tokens")
    turns = [*_system(body), *_Conversation(_thinks(body)).turns(body)]
    tools = _parameters(body)
    request = begin(model, turns, f"model: {model}")
    return replace(request, stream=body.flag("stream"), schema=_schema(body), tools=tools, limit=limit)


def _thinks(body: Fields) -> bool:
    thinking = body.object("thinking")
    if thinking is None:
        return False
    kind = thinking.one_of("type", "enabled", "disabled", "adaptive")
    if kind == "enabled" and thinking.whole("budget_tokens", 1024) is None:
        raise thinking.missing("budget_tokens")
    return kind != "disabled"


def _parameters(body: Fields) -> tuple[Offered, ...]:
    """Checks the parameters; the tools among them."""
    body.number("temperature", 0, 1)
    body.number("top_p", 0, 1)
    body.whole("top_k", 0)
    if isinstance(body.raw("stop_sequences"), str):
        raise body.bad("stop_sequences", "expected an array of strings.", "invalid_type")
    body.texts("stop_sequences")
    body.object("metadata")
    tools = body.objects("tools")
    offered: list[Offered] = []
    for tool in tools:
        name = tool.need_text("name")
        if tool.text("type") in ("", "custom"):
            schema = tool.need_object("input_schema")
            schema.one_of("type", "object")
            offered.append(Offered(name, schema.value))
    _choice(body, offered=bool(tools))
    return tuple(offered)


def _choice(body: Fields, *, offered: bool) -> None:
    choice = body.object("tool_choice")
    if choice is None:
        return
    kind = choice.one_of("type", "auto", "any", "tool", "none")
    if not offered and kind != "none":
        raise refuse("tool_choice may only be specified while providing tools", "tool_choice")
    thinking = body.object("thinking")
    if kind in ("any", "tool") and thinking is not None and thinking.text("type") == "enabled":
        raise refuse("Thinking may not be enabled when tool_choice forces tool use.", "tool_choice")


def _schema(body: Fields) -> Json:
    output = body.object("output_config")
    form = output.object("format") if output else None
    if form is None:
        return None
    form.one_of("type", "json_schema")
    return form.need_object("schema").value


def _system(body: Fields) -> Iterator[Turn]:
    if isinstance(body.raw("system"), str):
        yield Turn(body.text("system"))
        return
    for block in body.objects("system"):
        block.one_of("type", "text")
        yield Turn(block.need_text("text"))


@dataclass(slots=True)
class _Conversation:
    """Walks the messages; `waiting` holds the calls that the next user message must answer."""

    thinks: bool
    waiting: set[str] = field(default_factory=set)

    def turns(self, body: Fields) -> Iterator[Turn]:
        for message in body.need_objects("messages"):
            role = message.one_of("role", "user", "assistant")
            if isinstance(message.raw("content"), str):
                text = message.need_text("content")
                self._answered(message)
                yield Turn(text, asked=role == "user")
            elif role == "user":
                yield from self._user(message)
            else:
                yield from self._assistant(message)
        if self.waiting:
            raise self._unanswered(body.param("messages"))

    def _unanswered(self, path: str) -> RefusedError:
        ids = ", ".join(sorted(self.waiting))
        return refuse(
            f"{path}: `tool_use` ids were found without `tool_result` blocks immediately after: {ids}. Each `tool_use` "
            "block must have a corresponding `tool_result` block in the next message.",
            path,
        )

    def _answered(self, message: Fields) -> None:
        if self.waiting:
            raise self._unanswered(message.path)

    def _user(self, message: Fields) -> Iterator[Turn]:
        texts: list[str] = []
        asks = False
        for block in message.need_objects("content"):
            kind = _kind(block)
            if kind == "tool_result":
                if asks:
                    raise self._unanswered(message.path) if self.waiting else block.bad("type", "it must come first.")
                yield self._result(block)
                continue
            self._answered(message)
            if kind not in ("text", "image", "document"):
                raise block.bad("type", f"`{kind}` blocks are not allowed in a user message.")
            asks = True
            if kind == "text":
                texts.append(block.text("text"))
        self._answered(message)
        if asks:
            yield Turn("\n".join(texts), asked=True)

    def _result(self, block: Fields) -> Turn:
        call_id = block.need_text("tool_use_id")
        if call_id not in self.waiting:
            raise refuse(
                f"{block.path}: unexpected `tool_use_id` found in `tool_result` blocks: {call_id}. Each `tool_result` "
                "block must have a corresponding `tool_use` block in the previous message.",
                block.path,
            )
        self.waiting.remove(call_id)
        block.flag("is_error")
        if not block.has("content") or isinstance(block.raw("content"), str):
            return Turn(block.text("content"), result=True)
        inner = block.objects("content")
        return Turn("\n".join(part.text("text") for part in inner if _kind(part) == "text"), result=True)

    def _assistant(self, message: Fields) -> Iterator[Turn]:
        self._answered(message)
        kinds: list[str] = []
        texts: list[str] = []
        for block in message.need_objects("content"):
            kind = _kind(block)
            kinds.append(kind)
            if kind == "text":
                texts.append(block.text("text"))
            elif kind == "tool_use":
                block.need_text("name")
                block.need_object("input")
                self.waiting.add(block.need_text("id"))
            elif kind not in ("thinking", "redacted_thinking"):
                raise block.bad("type", f"`{kind}` blocks are not allowed in an assistant message.")
        if self.thinks and "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking"):
            raise refuse(
                f"{message.path}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{kinds[0]}`. "
                "When `thinking` is enabled, a final `assistant` message must start with a thinking block.",
                message.path,
            )
        yield Turn("\n".join(texts))


def _kind(block: Fields) -> str:
    kind = block.one_of("type", *_BLOCKS)
    if kind == "text" and not block.text("text"):
        raise refuse("messages: text content blocks must be non-empty", block.param("text"))
    if not block.has(_BLOCKS[kind]):
        raise block.missing(_BLOCKS[kind])
    if kind == "thinking":
        block.text("thinking")
    if kind in ("thinking", "redacted_thinking") and not is_signed(block.text(_BLOCKS[kind])):
        raise refuse(f"{block.path}: Invalid `{_BLOCKS[kind]}` in `{kind}` block", block.path)
    return kind
