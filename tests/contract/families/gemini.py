"""Gemini's generateContent as it is on the wire."""

from integration_api.v1 import messages_pb2 as msg
from tests.contract.families.family import (
    AS_OBJECT,
    CITY,
    CITY_OF,
    NAMED,
    PNG,
    SCHEMA,
    SPOKEN,
    STOPS,
    TOLD,
    VALUE,
    ZONE,
    ZONE_OF,
    Body,
    Family,
    Json,
    Origin,
)

_PICTURE = {"inlineData": {"mimeType": "image/png", "data": PNG}}


def _config(**fields: Json) -> Body:
    return {"generationConfig": fields}


def _mode(**fields: Json) -> Body:
    return {"toolConfig": {"functionCallingConfig": fields}}


_FORMAT = _config(responseMimeType="application/json", responseJsonSchema=SCHEMA)


def _path(model: str, streamed: bool) -> str:
    return f"/v1beta/models/{model}:" + ("streamGenerateContent?alt=sse" if streamed else "generateContent")


def _said(*parts: Json) -> Json:
    return {"role": "model", "parts": list(parts)}


def _asked(*parts: Json) -> Json:
    return {"role": "user", "parts": list(parts)}


def _call(name: str, args: Json, call_id: str = "") -> Json:
    return {"functionCall": {**({"id": call_id} if call_id else {}), "name": name, "args": args}}


def _result(name: str, response: Json, call_id: str = "") -> Json:
    return {"functionResponse": {**({"id": call_id} if call_id else {}), "name": name, "response": response}}


def _conversation(call_id: str) -> Body:
    return {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            _asked({"text": "Weather here?"}, _PICTURE),
            _said(_call("weather", CITY_OF, call_id)),
            _asked(_result("weather", {"output": "21 °C"}, call_id)),
            _said({"text": TOLD}),
            _asked({"text": "As JSON, please"}),
        ],
    }


def _native(origin: Origin, call: bool) -> list[Json]:
    """The last, empty part of a streamed text is signed, and the text itself of a whole answer."""
    thought, (signature, *_) = {"text": origin.thought(call=call), "thought": True}, origin.seals
    if call:
        return [_said(thought, {**_call("weather", CITY_OF, origin.call_id), "thoughtSignature": signature})]
    if origin.streamed:
        return [_said(thought, {"text": SPOKEN}, {"text": "", "thoughtSignature": signature})]
    return [_said(thought, {"text": SPOKEN, "thoughtSignature": signature})]


def _rebuilt(origin: Origin, call: bool) -> list[Json]:
    return [_said(_call("weather", CITY_OF) if call else {"text": origin.text})]


def _last(origin: Origin, own: bool) -> Json:
    return _asked(_result("weather", {"output": "21 °C"}, origin.call_id if own else ""))


GEMINI = Family(
    name="gemini",
    root="",
    path=_path,
    names_model=False,
    tools=[
        {
            "functionDeclarations": [
                {"name": "weather", "description": "The weather now.", "parametersJsonSchema": CITY},
                {"name": "local_time", "parametersJsonSchema": ZONE},
            ]
        }
    ],
    response_format=_FORMAT,
    plain=lambda text: {"contents": [_asked({"text": text})]},
    rules={
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Say please."}]},
        "contents": [_asked({"text": "Hello there"})],
    },
    images={
        "contents": [
            _asked(
                {"text": "What is this?"},
                _PICTURE,
                {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.com/a.jpg"}},
                _PICTURE,
            )
        ]
    },
    results={
        "contents": [
            _asked({"text": "Weather and time?"}),
            _said({"text": "I look."}, _call("weather", CITY_OF), _call("local_time", ZONE_OF)),
            _asked(_result("weather", {"output": "21 °C"}), _result("local_time", {"error": "no clock"})),
        ]
    },
    failure_has_a_field=True,
    conversation=_conversation,
    parameters={
        "temperature": _config(temperature=0.5),
        "top_p": _config(topP=0.25),
        "top_k": _config(topK=20),
        "max_tokens": _config(maxOutputTokens=64),
        "max_completion_tokens": _config(maxOutputTokens=65),
        "max_output_tokens": _config(maxOutputTokens=66),
        "frequency_penalty": _config(frequencyPenalty=0.5),
        "presence_penalty": _config(presencePenalty=-0.5),
        "seed": _config(seed=7),
        "n": _config(candidateCount=1),
        "stop": _config(stopSequences=STOPS),
        "tool_choice": _mode(mode="ANY"),
        "response_format": _FORMAT,
        "reasoning_effort": _config(thinkingConfig={"thinkingLevel": "LOW", "includeThoughts": True}),
        "logprobs": _config(responseLogprobs=True),
        "top_logprobs": _config(logprobs=2, responseLogprobs=True),
    },
    tool_choice={
        "auto": _mode(mode="AUTO"),
        "required": _mode(mode="ANY"),
        "none": _mode(mode="NONE"),
        NAMED: _mode(mode="ANY", allowedFunctionNames=["weather"]),
    },
    formats={
        "text": _config(responseMimeType="text/plain"),
        "json_object": _config(responseMimeType="application/json"),
    },
    ends={
        msg.FINISH_REASON_STOP: "STOP",
        msg.FINISH_REASON_LENGTH: "MAX_TOKENS",
        msg.FINISH_REASON_TOOL_CALLS: "STOP",
        msg.FINISH_REASON_CONTENT_FILTER: "SAFETY",
    },
    refusal=("", ""),
    refusal_is_filter=True,
    called={
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": VALUE}}]},
                "finishReason": "STOP",
            }
        ]
    },
    arguments=AS_OBJECT,
    media=[
        {"audio": {"data": PNG, "format": "wav"}},
        {"file": {"data": PNG, "mediaType": "application/pdf", "filename": "a.pdf"}},
        {"file": {"url": "https://example.com/a.pdf"}},
    ],
    state_names=("thoughtSignature", '"thought"'),
    native=_native,
    rebuilt=_rebuilt,
    result=_last,
    whole={"candidates": [{"content": {"parts": [{"text": "fine"}]}, "finishReason": "STOP"}]},
    first={"candidates": [{"content": {"parts": [{"text": "one "}]}}]},
)
