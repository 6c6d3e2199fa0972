"""OpenAI's Responses: POST /v1/responses.

Rule: this module alone knows the items and events of this API (OpenAI API reference: Responses, streaming events). The
answer without streaming is the response that the last event of the stream holds, so the two cannot differ.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, assert_never

from integration_api.sandbox import models
from integration_api.sandbox.api_format import ApiFormat, Place, alternatives
from integration_api.sandbox.openai_errors import code, error, headers
from integration_api.sandbox.responses_request import read
from integration_api.sandbox.scenario import (
    CallFragment,
    CallStart,
    Cut,
    Finish,
    Garbage,
    HttpError,
    KeepAlive,
    Open,
    Pause,
    Reasoning,
    Refusal,
    Request,
    Scenario,
    Step,
    Text,
    Usage,
    Wire,
)
from integration_api.sandbox.signature import sign
from integration_api.sandbox.wire import Json, JsonObject, comment, dump, event, without

# The codes that a response object may hold; an `error` event may say any word.
_FAILED: Final = frozenset({"server_error", "rate_limit_exceeded", "invalid_prompt"})
_INCOMPLETE: Final[Mapping[Finish | None, str]] = MappingProxyType(
    {Finish.LENGTH: "max_output_tokens", Finish.CONTENT_FILTER: "content_filter"}
)


@dataclass(slots=True)
class _Item:
    """An output item while it grows. `part`: the type of a message's content part."""

    kind: str
    index: int
    item_id: str
    name: str = ""
    call_id: str = ""
    part: str = "output_text"
    texts: list[str] = field(default_factory=list)
    done: bool = False

    @property
    def text(self) -> str:
        return "".join(self.texts)


def usage(counts: Usage) -> JsonObject:
    """The usage object of a response."""
    return {
        "input_tokens": counts.input,
        "input_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": 0},
        "output_tokens": counts.output,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.input + counts.output,
    }


@dataclass(slots=True)
class _Events:
    """The events of one response, as JSON objects between what is not JSON."""

    request: Request
    scenario: Scenario
    number: int = 0
    opened: bool = False
    items: list[_Item] = field(default_factory=list)
    current: _Item | None = None
    calls: dict[int, _Item] = field(default_factory=dict)

    def events(self) -> Iterator[JsonObject | Step]:
        for step in self.scenario.steps:
            match step:
                case Pause() | Cut() | KeepAlive() | Garbage():
                    yield step
                case HttpError():
                    yield from self._open()
                    yield from self._failed(step)
                case Open() | Text() | Refusal() | Reasoning() | CallStart() | CallFragment():
                    yield from self._open()
                    yield from self._output(step)
                case _:
                    assert_never(step)
            if isinstance(step, Cut | HttpError):
                return
        yield from self._open()
        if self.scenario.finish is not None:
            yield from self._close()

    def _event(self, kind: str, **fields: Json) -> JsonObject:
        numbered: JsonObject = {"type": kind, "sequence_number": self.number, **fields}
        self.number += 1
        return numbered

    def _open(self) -> Iterator[JsonObject]:
        if not self.opened:
            self.opened = True
            yield self._event("response.created", response=self.response("in_progress"))
            yield self._event("response.in_progress", response=self.response("in_progress"))

    def _output(self, step: Open | Text | Refusal | Reasoning | CallStart | CallFragment) -> Iterator[JsonObject]:
        match step:
            case Open():
                pass
            case Text(text):
                yield from self._begin("message", "output_text")
                more: JsonObject = {"logprobs": self._logprobs((text,))}
                yield self._delta("response.output_text.delta", text, content_index=0, **more)
            case Refusal(text):
                yield from self._begin("message", "refusal")
                yield self._delta("response.refusal.delta", text, content_index=0)
            case Reasoning(text):
                yield from self._begin("reasoning", "summary_text")
                yield self._delta("response.reasoning_summary_text.delta", text, summary_index=0)
            case CallStart(number, name):
                yield from self._end_current()
                item = self._new("function_call", "fc", name=name, call_id=self.request.call_id(number))
                self.calls[number] = item
                yield self._added(item)
            case CallFragment(number, text):
                item = self.calls[number]
                item.texts.append(text)
                position: JsonObject = {"item_id": item.item_id, "output_index": item.index}
                yield self._event("response.function_call_arguments.delta", **position, delta=text)
            case _:
                assert_never(step)

    def _new(self, kind: str, prefix: str, name: str = "", call_id: str = "", part: str = "output_text") -> _Item:
        index = len(self.items)
        item = _Item(kind, index, f"{prefix}_{self.request.answer_id}{index:02d}", name, call_id, part)
        self.items.append(item)
        return item

    def _added(self, item: _Item) -> JsonObject:
        return self._event("response.output_item.added", output_index=item.index, item=self._json(item, "in_progress"))

    def _begin(self, kind: str, part: str) -> Iterator[JsonObject]:
        """Makes an item of this kind the current one, which grows."""
        if self.current is not None and self.current.kind == kind:
            return
        yield from self._end_current()
        item = self._new(kind, "msg" if kind == "message" else "rs", part=part)
        self.current = item
        yield self._added(item)
        yield self._part(item, "added", "")

    def _part(self, item: _Item, what: str, text: str) -> JsonObject:
        position: JsonObject = {"item_id": item.item_id, "output_index": item.index}
        part = self._content(item, text)
        if item.kind == "reasoning":
            return self._event(f"response.reasoning_summary_part.{what}", **position, summary_index=0, part=part)
        return self._event(f"response.content_part.{what}", **position, content_index=0, part=part)

    def _delta(self, kind: str, text: str, **fields: Json) -> JsonObject:
        item = self.items[-1]
        item.texts.append(text)
        return self._event(kind, item_id=item.item_id, output_index=item.index, **fields, delta=text)

    def _end_current(self) -> Iterator[JsonObject]:
        """Ends the current item."""
        item, self.current = self.current, None
        if item is None:
            return
        position: JsonObject = {"item_id": item.item_id, "output_index": item.index}
        if item.kind == "reasoning":
            yield self._event("response.reasoning_summary_text.done", **position, summary_index=0, text=item.text)
        elif item.part == "refusal":
            yield self._event("response.refusal.done", **position, content_index=0, refusal=item.text)
        else:
            logprobs = self._logprobs(item.texts)
            yield self._event(
                "response.output_text.done", **position, content_index=0, text=item.text, logprobs=logprobs
            )
        yield self._part(item, "done", item.text)
        yield self._done(item)

    def _done(self, item: _Item) -> JsonObject:
        item.done = True
        return self._event("response.output_item.done", output_index=item.index, item=self._json(item, self.ending))

    @property
    def ending(self) -> str:
        return "incomplete" if self.scenario.finish in _INCOMPLETE else "completed"

    def _close(self) -> Iterator[JsonObject]:
        if not self.items:
            yield from self._begin("message", "output_text")
        yield from self._end_current()
        for item in self.calls.values():
            position: JsonObject = {"item_id": item.item_id, "output_index": item.index}
            yield self._event("response.function_call_arguments.done", **position, name=item.name, arguments=item.text)
            yield self._done(item)
        yield self._event(f"response.{self.ending}", response=self.response(self.ending))

    def _failed(self, http_error: HttpError) -> Iterator[JsonObject]:
        word = code(http_error) or ("overloaded_error" if http_error.status in (503, 529) else "server_error")
        yield self._event("error", code=word, message=http_error.message, param=None)
        known = word if word in _FAILED else "server_error"
        failure: JsonObject = {"code": known, "message": http_error.message}
        yield self._event("response.failed", response={**self.response("failed"), "error": failure})

    def response(self, status: str) -> JsonObject:
        """The response object as it is now."""
        ended = status in ("completed", "incomplete")
        reason = _INCOMPLETE.get(self.scenario.finish) if status == "incomplete" else None
        return {
            "id": f"resp_{self.request.answer_id}",
            "object": "response",
            "created_at": self.request.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": reason} if reason else None,
            "model": self.request.model,
            "output": [self._json(item, self.ending) for item in self.items] if self.number > 1 else [],
            "service_tier": "default",
            "usage": usage(self.scenario.usage) if ended else None,
            **dict(self.request.echoed),
        }

    def _json(self, item: _Item, status: str) -> JsonObject:
        done = status != "in_progress"
        match item.kind:
            case "reasoning":
                signed: JsonObject = (
                    {"encrypted_content": sign(item.text)}
                    if done and self.request.signed_wanted and self.scenario.signed
                    else {}
                )
                summary = [self._content(item, item.text)] if done else []
                return {"id": item.item_id, "type": "reasoning", "summary": summary, **signed}
            case "function_call":
                call: JsonObject = {"arguments": item.text if done else "", "call_id": item.call_id, "name": item.name}
                return {"id": item.item_id, "type": "function_call", "status": status, **call}
            case _:
                content = [self._content(item, item.text)] if done else []
                return {
                    "id": item.item_id,
                    "type": "message",
                    "status": status,
                    "content": content,
                    "role": "assistant",
                }

    def _content(self, item: _Item, text: str) -> JsonObject:
        match item.part:
            case "output_text":
                logprobs = self._logprobs(item.texts if text else ())
                return {"type": "output_text", "annotations": [], "logprobs": logprobs, "text": text}
            case "refusal":
                return {"type": "refusal", "refusal": text}
            case _:
                return {"type": "summary_text", "text": text}

    def _logprobs(self, tokens: Iterable[str]) -> Json:
        top = self.request.logprobs
        return [] if top is None else [_token(token, top) for token in tokens]


def _token(token: str, top: int) -> JsonObject:
    listed: list[dict[str, Json]] = [
        {"token": word, "logprob": weight, "bytes": list(word.encode("utf-8", "surrogatepass"))}
        for word, weight in alternatives(token, max(top, 1))
    ]
    return {**listed[0], "top_logprobs": listed[:top]}


def whole(request: Request, scenario: Scenario) -> JsonObject:
    """The response object."""
    rendered = _Events(request, scenario)
    for _ in rendered.events():
        pass
    return rendered.response(rendered.ending if scenario.finish is not None else "in_progress")


def stream(request: Request, scenario: Scenario) -> Iterator[Wire]:
    """The events of the response."""
    for item in _Events(request, scenario).events():
        match item:
            case Pause() | Cut():
                yield item
            case KeepAlive():
                yield comment("keep-alive")
            case Garbage():
                yield event('{"type": "response.output_text.delta", this is not JSON', "response.output_text.delta")
            case Mapping():
                yield event(dump(item), str(item["type"]))
            case _:
                raise TypeError(f"a step that became no event: {item}")


FORMAT: Final = ApiFormat(
    "responses",
    Place(("/v1/responses",), own="/v1/responses"),
    models.OPENAI,
    ("authorization", "api-key"),
    read,
    stream,
    whole,
    error,
    headers,
    lambda body: without(body, "output"),
)
