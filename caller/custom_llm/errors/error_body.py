"""What an error body says: message, codes, a number that stands for a status. Every form endpoints send, read once.

Seen forms: `{"error": {…}}` (OpenAI and most), `{"error": "text"}` (vLLM's 401, Ollama, LM Studio, Xinference),
`{"object": "error", …}` (older vLLM, FastChat, Mistral), `{"detail": …}` (FastAPI: text, list or object),
`{"type": "error", …}` (Anthropic, nested; Responses, nested and flat), a list around any of them (Gemini),
`{"errors": …}` (Cloudflare, GraphQL gateways), `{"fault": …}` (Apigee), `{"code", "msg"}` (Chinese gateways),
`{"base_resp": {…}}` (MiniMax), `{"text", "error_code"}` (FastChat), JSON as text inside of any of these (Ollama's
runner, gateways), plain text, HTML, SSE with an error event, nothing.

It never raises. It does not know what the codes mean.
"""

import html
import json
import re
from dataclasses import dataclass
from typing import Final

from caller.custom_llm.errors.code_table import (
    FLAGGED_INPUT,
    MINIMAX,
    QUOTA_PER_DAY,
    QUOTA_PER_MINUTE,
    SILICONFLOW,
    ZHIPU,
)
from caller.json_types import JsonObject, JsonValue, list_of, object_of, objects_of, text_of

_MAX_TEXT = 16 * 1024
_MAX_PLAIN_TEXT = 500
_MAX_DEPTH = 4
_MAX_MEMBERS = 16

_HTML: Final = re.compile(r"<!doctype|<html|<head|<body", re.IGNORECASE)
_NO_TEXT: Final = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"<[^<>]*>")
_STATUS_WORD: Final = re.compile(r"[A-Z][A-Z_]+")
_FOUR_DIGITS: Final = re.compile(r"1\d{3}")

# Where a text stands that says what is wrong, in the order of preference.
_MESSAGES: Final = (
    *("msg", "error_message", "errorMessage", "error_msg", "errorMsg", "errmsg", "error_description", "Message"),
    *("faultstring", "reason", "title", "description", "err", "exception"),
)
_CODES: Final = ("code", "error_code", "errorCode", "errcode", "Code", "errorcode")
_TYPES: Final = ("type", "error_type", "errorType", "__type")
_STATUSES: Final = ("code", "status_code", "http_status_code", "statusCode", "status", "http_code", "error_code")


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What one body says.

    Attributes:
        message: as the endpoint wrote it, neither cleaned nor clipped; may hold secrets.
        code: the code to show: `error.code`, else its type, else its status word.
        words: every code, type and reason, the most telling first.
        status: a number from 400 to 599 inside the body that stands for an HTTP status.
        request_id: the endpoint's name for the request, where the body has it (Anthropic).
        value: the parsed JSON, or None.

    """

    message: str = ""
    code: str = ""
    words: tuple[str, ...] = ()
    status: int | None = None
    request_id: str = ""
    value: JsonValue = None


def parsed(body: bytes) -> JsonValue:
    """The JSON of a body, leniently, or None. Blank lines may come first (DeepSeek)."""
    try:
        value: JsonValue = json.loads(body.decode("utf-8-sig", "replace"), strict=False)
    except (ValueError, RecursionError):
        return None
    return value


def read_body(body: bytes) -> ErrorBody:
    """What the body of an error says, in whatever form it is."""
    value = parsed(body)
    if value is None:
        value = _event(body)
    if value is not None:
        said = read_value(value)
        if said.message or said.code or value in ({}, [], ""):
            return said
    return ErrorBody(plain_text(body), value=value)


def read_value(value: JsonValue) -> ErrorBody:
    """What parsed JSON, known to be an error, says."""
    top = _unwrapped(value)
    if not isinstance(top, dict):
        return ErrorBody(text_of(top), value=value)
    layers = _layers(top)
    message = next(filter(None, map(_message, layers)), "")
    codes = [code for layer in layers for code in _codes(layer)]
    whole = " ".join(filter(None, [message, *map(_upstream, layers)]))
    structural = [word for layer in layers for word in _reasons(layer)] + _structural(layers)
    return ErrorBody(
        message=whole,
        code=codes[0] if codes else "",
        words=(*structural, *codes),
        status=next((status for layer in layers if (status := _status(layer)) is not None), None),
        request_id=text_of(top.get("request_id")),
        value=value,
    )


def _unwrapped(value: JsonValue) -> JsonValue:
    for _ in range(_MAX_DEPTH):
        if not isinstance(value, list) or not value:
            break
        value = value[0]
    return value


def _layers(top: JsonObject) -> list[JsonObject]:
    """The objects that describe the error, the innermost first."""
    layers = [top]
    for _ in range(_MAX_DEPTH):
        inner = _inner(layers[0])
        if not inner:
            break
        layers.insert(0, inner)
    return layers


def _inner(layer: JsonObject) -> JsonObject:
    candidates = [layer.get(key) for key in ("error", "message", "detail", "errors", "fault", "Error")]
    candidates += [object_of(layer.get("x_groq")).get("error"), object_of(layer.get("Response")).get("Error")]
    candidates += [layer.get("header")] if "payload" in layer or "code" in object_of(layer.get("header")) else []
    candidates += [layer.get("data")] if "error" in object_of(layer.get("data")) else []
    # OpenRouter puts the error of one choice into the choice.
    candidates += [choice.get("error") for choice in objects_of(layer.get("choices"))[:_MAX_MEMBERS]]
    return next((inner for candidate in candidates if (inner := _as_object(candidate))), {})


def _as_object(value: JsonValue) -> JsonObject:
    """An object, the first one of a list, or the one that a text is the JSON of (Ollama's runner, gateways)."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        value = parsed(value[:_MAX_TEXT].encode("utf-8", "replace"))
    if isinstance(value, list):
        # FastAPI's list of faults is a text of its own: where, and what.
        return next((member for member in objects_of(value) if "loc" not in member), {})
    return object_of(value)


def _message(layer: JsonObject) -> str:
    error, message = _text(layer.get("error")), _text(layer.get("message"))
    if error:
        # NestJS: {"error": "Bad Request", "message": "…"}; TGI and LM Studio say the same twice.
        return error if not message or message == error else f"{error}: {message}"
    texts = [message, _text(layer.get("detail")), _text(layer.get("errors"))]
    texts += [text_of(layer.get(key)) for key in _MESSAGES]
    texts.append(text_of(object_of(layer.get("base_resp")).get("status_msg")))
    texts.append(text_of(object_of(layer.get("x_groq")).get("error")))
    if layer.get("error_code"):
        texts.append(text_of(layer.get("text")))
    return next((text for text in texts if text.strip()), "")


def _text(value: JsonValue) -> str:
    """A text, or FastAPI's list of faults as `where: what`."""
    if isinstance(value, list):
        return "; ".join(filter(None, map(_fault, value[:_MAX_MEMBERS])))
    return text_of(value)


def _fault(member: JsonValue) -> str:
    if not isinstance(member, dict):
        return text_of(member)
    what = text_of(member.get("msg")) or text_of(member.get("message")) or text_of(member.get("type"))
    where = ".".join(str(step) for step in list_of(member.get("loc")) if isinstance(step, str | int))
    return f"{where}: {what}" if where and what else what


def _upstream(layer: JsonObject) -> str:
    """What an endpoint adds beside its message: the error of the provider behind it (OpenRouter), or the text of the
    model that was no tool call (Groq).
    """
    metadata = object_of(layer.get("metadata"))
    raw = metadata.get("raw")
    said = raw if isinstance(raw, str) else json.dumps(raw) if raw else ""
    who = text_of(metadata.get("provider_name")) or "upstream"
    parts = [f"({who}: {said.strip()})"] if said.strip() else []
    failed = text_of(layer.get("failed_generation")).strip()
    if failed:
        parts.append(f"(the model wrote: {failed})")
    return " ".join(parts)


def _codes(layer: JsonObject) -> list[str]:
    base = object_of(layer.get("base_resp"))
    values = [layer.get(key) for key in _CODES] + [base.get("status_code")]
    values += [object_of(layer.get("extensions")).get("code")]  # GraphQL
    values += [layer.get(key) for key in _TYPES]
    codes = list(filter(None, map(_code, values)))
    status = text_of(layer.get("status"))
    return [*codes, status] if _STATUS_WORD.fullmatch(status) else codes


def _code(value: JsonValue) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if 0 < abs(value) < 10**9 else ""
    # LiteLLM writes Python's None as a word; `"type": "error"` names the frame.
    text = text_of(value).strip().rpartition("#")[2]  # AWS: com.amazon.coral.service#ThrottlingException
    return "" if text in ("None", "null", "error") else text


def _reasons(layer: JsonObject) -> list[str]:
    """Codes that stand deeper than the code: what a vague code is about."""
    reasons: list[str] = []
    for detail in objects_of(layer.get("details"))[:_MAX_MEMBERS]:  # google.rpc.Status
        quotas = [text_of(violation.get("quotaId")) for violation in objects_of(detail.get("violations"))]
        if any("PerDay" in quota for quota in quotas):
            reasons.insert(0, QUOTA_PER_DAY)
        elif any("PerMinute" in quota for quota in quotas):
            reasons.append(QUOTA_PER_MINUTE)
        reasons.append(text_of(detail.get("reason")))
    reasons.append(text_of(object_of(layer.get("innererror")).get("code")))  # Azure
    if list_of(object_of(layer.get("metadata")).get("reasons")):  # OpenRouter's moderation
        reasons.append(FLAGGED_INPUT)
    minimax = _code(object_of(layer.get("base_resp")).get("status_code"))
    if minimax:
        reasons.append(MINIMAX + minimax)
    return list(filter(None, reasons))


def _structural(layers: list[JsonObject]) -> list[str]:
    """Numbers that mean something only where they stand: Zhipu's inside `error`, SiliconFlow's beside `data`."""
    inner = [text_of(layer.get("code")) for layer in layers[:-1]]
    words = [ZHIPU + code for code in inner if _FOUR_DIGITS.fullmatch(code)]
    top = layers[-1]
    return [*words, SILICONFLOW + _code(top.get("code"))] if "data" in top and _code(top.get("code")) else words


def _status(layer: JsonObject) -> int | None:
    """A number that stands for a status; as text too (LiteLLM), beside the code (Groq; TGI; NestJS)."""
    for key in _STATUSES:
        text = _code(layer.get(key))
        if len(text) == 3 and text.isascii() and text.isdigit() and 400 <= int(text) < 600:
            return int(text)
    return None


def _event(body: bytes) -> JsonValue:
    """The first JSON object in the lines of an event stream: some answer a failed streaming request in SSE."""
    for line in body[:_MAX_TEXT].splitlines():
        name, colon, data = line.partition(b":")
        if colon and name in (b"data", b"error"):
            value = parsed(data)
            if isinstance(value, dict):
                return value
    return None


def plain_text(body: bytes) -> str:
    """The beginning of the text; of a page its words without the tags. Cut at a blank: half a key is not
    recognised."""
    text = body[:_MAX_TEXT].decode("utf-8", "replace")
    if _HTML.search(text):
        text = " ".join(html.unescape(_TAG.sub(" ", _NO_TEXT.sub(" ", text))).split())
    text = text.strip()
    if len(text) <= _MAX_PLAIN_TEXT:
        return text
    return text[: _MAX_PLAIN_TEXT + 1].rpartition(" ")[0] or text
