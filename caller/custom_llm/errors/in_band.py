"""The signs by which an answer with a good status is an error: for frames of a stream and for whole answers.

Two kinds of signs. Some are never part of a good answer. Others count only where the frame holds nothing of an answer:
gateways write `"code": 0`, `"message": "success"`, `"error": null` or `"status": "ok"` beside good ones. It knows no
API shape beyond the names under which all of them keep what the model said, and it does not know what codes mean.
"""

from typing import Final

from caller.json_types import JsonObject, JsonValue, object_of, objects_of, text_of

# Where one of the shapes keeps what belongs to an answer.
_ANSWER: Final = (
    *("choices", "content", "candidates", "output", "delta", "response", "item", "part", "content_block"),
    *("promptFeedback", "usageMetadata"),
)
_FAILED: Final = frozenset({"fail", "failed", "failure", "error", "ko", "rejected", "denied"})
_GOOD_CODES: Final = frozenset({"", "0", "1", "200", "20000", "ok", "success", "none", "null"})
_GOOD_WORDS: Final = ("success", "succeed", "ok", "成功", "请求成功", "操作成功")
_TEXTS: Final = ("message", "msg", "reason", "errmsg", "title")
_NAMED_ERRORS: Final = (
    "errors",
    "error_message",
    "errorMessage",
    "error_msg",
    "errorMsg",
    "error_type",
    "fault",
    "Error",
    "err",
    "exception",
)


def is_error(frame: JsonObject) -> bool:
    """Whether the frame, or the whole answer, is an error."""
    return _never_good(frame) or (not holds_answer(frame) and _fails(frame))


def holds_answer(frame: JsonObject) -> bool:
    """Whether there is anything in it that belongs to an answer."""
    return any(frame.get(key) for key in _ANSWER) or isinstance(frame.get("message"), dict)


def _never_good(frame: JsonObject) -> bool:
    return (
        _says_something(frame.get("error"))
        or "error" in (frame.get("object"), frame.get("type"))
        or bool(frame.get("error_code"))  # FastChat, Baidu
        or bool(object_of(frame.get("base_resp")).get("status_code"))  # MiniMax
        or frame.get("success") is False  # z.ai and Cloudflare
        or _says_something(object_of(frame.get("x_groq")).get("error"))  # Groq: why a stream was stopped early
        or any(_says_something(choice.get("error")) for choice in objects_of(frame.get("choices")))  # OpenRouter
    )


def _fails(frame: JsonObject) -> bool:
    return (
        any(_says_something(frame.get(name)) for name in _NAMED_ERRORS)
        or bool(frame.get("detail"))  # FastAPI
        or _says_something(object_of(frame.get("data")).get("error"))
        or "Error" in object_of(frame.get("Response"))  # Tencent
        or text_of(frame.get("__type")).endswith(("Exception", "Error"))  # AWS
        or any(frame.get(name) is False for name in ("ok", "status"))
        or frame.get("isError") is True  # MCP, and gateways made after it
        or _is_bad_code(object_of(frame.get("header")))  # iFlytek Spark
        or any(text_of(frame.get(name)).strip().lower() in _FAILED for name in ("status", "result", "state"))
        or any(_is_status(frame.get(name)) for name in ("status", "statusCode", "status_code", "code"))
        or (_is_bad_code(frame) and any(_is_bad_news(frame.get(name)) for name in _TEXTS))
    )


def _says_something(error: JsonValue) -> bool:
    """Servers written in Go send an empty object where there is no error."""
    return any(error.values()) if isinstance(error, dict) else bool(error)


def _is_status(value: JsonValue) -> bool:
    return isinstance(value, int) and 400 <= value < 600


def _is_bad_code(frame: JsonObject) -> bool:
    for name in ("code", "errcode", "errno", "ret", "retcode"):
        code = frame.get(name)
        if isinstance(code, int | str) and not isinstance(code, bool):
            return str(code).strip().lower() not in _GOOD_CODES
    return False


def _is_bad_news(value: JsonValue) -> bool:
    text = text_of(value).strip().lower()
    return bool(text) and not text.startswith(_GOOD_WORDS)
