"""The short way for a plain whole answer makes the same events as the full way, or leaves it to that."""

import json
from copy import deepcopy
from typing import Any

import pytest

from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import ResolvedCall
from caller.custom_llm.apis.chat_completions.decoder import ChatDecoder
from caller.custom_llm.apis.chat_completions.plain import plain_answer
from caller.parameters import Parameters
from tests.recordings_reader import recordings

OLLAMA: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "system_fingerprint": "fp",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}
OPENAI: dict[str, Any] = {
    **OLLAMA,
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hé \U0001f44d", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "length",
        }
    ],
    "usage": {
        **OLLAMA["usage"],
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 1,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
}
VLLM: dict[str, Any] = {
    **OLLAMA,
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hi.",
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "tool_calls": [],
                "reasoning_content": None,
            },
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
            "token_ids": None,
        }
    ],
    "service_tier": None,
    "system_fingerprint": None,
    "usage": {**OLLAMA["usage"], "prompt_tokens_details": None},
    "prompt_logprobs": None,
    "kv_transfer_params": None,
}
PLAIN = {"ollama": OLLAMA, "openai": OPENAI, "vllm": VLLM}
# What a member may be instead of what it is.
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2**32, 2**53, 2**70, 1.0, 1e300, "", "x", "error", "tool_calls", "null", [], [1]),
    *([{}], {}, {"a": 1}, {"error": "x"}, {"cached_tokens": 99}, {"message": "boom"}, [{"type": "text", "text": "t"}]),
)
NAMES = (
    *("error", "error_code", "base_resp", "success", "x_groq", "obfuscation", "tool_calls", "function_call", "audio"),
    *("reasoning", "reasoning_content", "reasoning_details", "thinking_blocks", "extra_content", "refusal", "delta"),
    *("usage", "logprobs", "cached_tokens", "prompt_cache_hit_tokens", "input_tokens", "citations", "object", "type"),
)


def decoder(parameters: dict[str, Any] | None = None) -> ChatDecoder:
    api = ApiCompatibility.OPENAI_COMPATIBLE
    return ChatDecoder(ResolvedCall(Credential(api, "http://127.0.0.1:1", {}), Parameters("m", parameters or {}), ()))


def in_full(body: bytes) -> tuple[list[Any], str]:
    try:
        return [*decoder()._whole_in_full(body)], ""
    except Exception as error:  # noqa: BLE001 -- whatever the full way says, the short one must leave to it
        return [], repr(error)


def agree(body: bytes) -> bool:
    """Whether the body is plain; where it is, both ways must read the same."""
    short = plain_answer(body)
    if short is None:
        return False
    assert (list(short), "") == in_full(body), body
    return True


@pytest.mark.parametrize("answer", PLAIN.values(), ids=PLAIN)
def test_what_the_common_servers_send_is_plain(answer: dict[str, Any]) -> None:
    """OpenAI, vLLM and Ollama, with everything that they write beside the text."""
    assert agree(json.dumps(answer).encode())
    assert agree(json.dumps(answer, indent=2, ensure_ascii=False).encode())


@pytest.mark.parametrize("answer", PLAIN.values(), ids=PLAIN)
def test_whatever_else_a_member_is_both_ways_agree(answer: dict[str, Any]) -> None:
    """Every member of every object replaced, left out, or put beside: plain and the same, or not plain."""
    plain = tried = 0
    for path in paths(answer):
        for value in (..., *ODD):
            plain += agree(json.dumps(changed(answer, path, value)).encode())
            tried += 1
    for path in [path for path in paths(answer) if isinstance(at(answer, path), dict)] + [()]:
        for name in NAMES:
            for value in ODD:
                plain += agree(json.dumps(changed(answer, (*path, name), value)).encode())
                tried += 1
    assert 0 < plain < tried / 2


def test_every_recorded_whole_answer_is_the_same_both_ways() -> None:
    """Of the real servers, of which some are plain; and bytes that are no answer."""
    bodies = [each.body for api in ("openai_compatible", "openai_chat_completions") for each in recordings(api)]
    bodies = [body for body in bodies if body.lstrip().startswith(b"{")]
    assert True in [agree(body) for body in bodies]
    for broken in (b"", b"{", b"[]", b"null", b'{"choices":[]}', b"\xff", b'{"choices":' + b"[" * 100_000):
        assert plain_answer(broken) is None


def test_broken_text_takes_the_full_way() -> None:
    """Bad UTF-8 and halves of surrogates, which the full way repairs."""
    good = json.dumps(OLLAMA).encode()
    for text in (b"H\xff", b"\\ud800", b"\\ud83d\\ude00"):
        agree(good.replace(b"Hi.", text))


def test_several_answers_take_the_full_way() -> None:
    """Where more than one was asked for, or came."""
    body = json.dumps(OLLAMA).encode()
    assert list(decoder({"n": 2})._whole_in_full(body)) == list(decoder({"n": 2}).whole(body)) != []
    two = {**OLLAMA, "choices": OLLAMA["choices"] * 2}
    assert not agree(json.dumps(two).encode())


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, member in members for found in ((*path, key), *paths(member, (*path, key)))]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def changed(answer: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The answer with one member replaced; `...` leaves it out."""
    copy = deepcopy(answer)
    parent = at(copy, path[:-1])
    if value is ...:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return copy
