"""Parts of Gemini's answers that are no plain text: calls, code, media, grounding."""

import json
from typing import Any

import pytest

from caller.credentials import Credential
from caller.custom_llm.apis.gemini.model import API
from caller.errors import (
    EndpointRejected,
    ProtocolError,
)
from caller.events import (
    FinishReason,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from tests.caller.adapters.gemini_wire import ADAPTER, STOP, calls, chunk, good, message, replayed, stream


def test_a_stop_before_or_after_the_call_means_tool_calls() -> None:
    """STOP comes with the call, behind it, or (out of order) before it."""
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    for received in (
        stream(chunk(call, **STOP)),
        stream(chunk(call), chunk({"text": ""}, **STOP)),
        stream(chunk({"text": "x"}, **STOP), chunk(call)),
    ):
        assert calls(received) == [("f", {"a": 1})]
        assert received.completion.choices[0].finish_reason is FinishReason.TOOL_CALLS


def test_parallel_calls_without_ids_stay_apart() -> None:
    """Two calls of one tool are two calls with two ids of ours, in one chunk or in several."""
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    for received in (stream(chunk(call, call, **STOP)), stream(chunk(call), chunk(call, **STOP))):
        assert calls(received) == [("f", {"a": 1})] * 2
        assert len({call.id for call in message(received).tool_calls}) == 2
        opened = [event for event in received.events if isinstance(event, ToolCallDelta)]
        assert [event.index for event in opened] == [0, 1]


@pytest.mark.parametrize(
    ("pieces", "arguments"),
    [
        (
            [
                {},
                {"name": "f", "id": "n1", "willContinue": True},
                {
                    "partialArgs": [{"jsonPath": "$.a[0].b", "stringValue": "Ro", "willContinue": True}],
                    "willContinue": True,
                },
                {"partialArgs": [{"jsonPath": "$.a[0].b", "stringValue": "me"}], "willContinue": True},
                {
                    "partialArgs": [
                        {"jsonPath": "$.a[1]", "numberValue": 2},
                        {"jsonPath": "$['c d'].e", "boolValue": True},
                        {"jsonPath": "$.n", "nullValue": "NULL_VALUE"},
                    ],
                    "willContinue": True,
                },
                {},
            ],
            {"a": [{"b": "Rome"}, 2], "c d": {"e": True}, "n": None},
        ),
        ([{"name": "f", "willContinue": True}, {}], {}),
        (
            [
                {"name": "f", "id": "n1", "willContinue": True},
                {"name": "f", "id": "n1", "partialArgs": [{"jsonPath": "$.a", "numberValue": 1}]},
            ],
            {"a": 1},
        ),
        ([{"name": "f", "willContinue": True}], {}),
        ([{"name": "f", "partialArgs": [{"jsonPath": "$.a", "numberValue": 1}]}], {"a": 1}),
    ],
)
def test_arguments_in_pieces_are_put_together(pieces: list[Any], arguments: Any) -> None:
    """Vertex AI's streamed arguments become one call, also where its end never comes."""
    received = stream(*(chunk({"functionCall": piece}) for piece in pieces), chunk({"text": ""}, **STOP))
    opened = [event for event in received.events if isinstance(event, ToolCallDelta)]

    assert calls(received) == [("f", arguments)]
    assert [bool(event.name) for event in opened] == [True, False]
    assert received.completion.choices[0].finish_reason is FinishReason.TOOL_CALLS


def test_pieces_that_fit_nowhere_are_kept_as_they_came() -> None:
    """A path that is not simple, or that would make a huge list, loses no argument and harms nothing."""
    odd = [
        {"jsonPath": "$..a", "stringValue": "x"},
        {"jsonPath": "$.a[999999]", "numberValue": 1},
        {"jsonPath": "$.b", "numberValue": 2},
    ]
    received = stream(chunk({"functionCall": {"name": "f", "partialArgs": odd}}), chunk(finishReason="STOP"))
    stray = stream(chunk({"functionCall": {"partialArgs": odd}}), chunk(finishReason="STOP"))

    assert calls(received) == [("f", {"a": [], "b": 2})]
    assert received.completion.choices[0].provider_fields == {
        "partialArgs": [{"jsonPath": "$..a", "value": "x"}, {"jsonPath": "$.a[999999]", "value": 1}]
    }
    assert stray.completion.choices[0].provider_fields == {"parts": [{"functionCall": {"partialArgs": odd}}]}


def test_what_has_no_field_of_ours_is_kept_once() -> None:
    """Grounding, citations, ratings and messages stand in the choice's fields, other keys in the answer's."""
    ratings = [{"category": "C", "probability": "LOW"}]
    received = stream(
        chunk({"text": "a"}, safetyRatings=ratings, top={"createTime": "t", "text": "a"}),
        chunk({"text": "b"}, safetyRatings=ratings, avgLogprobs=-0.5, groundingMetadata={"q": ["x"]}),
        chunk({"text": "", "videoMetadata": {"fps": 1}}, citationMetadata={"c": 1}, finishMessage="done", **STOP),
    )
    choice = good(received).completion.choices[0]

    assert received.completion.provider_fields == {"createTime": "t"}
    assert choice.provider_fields == {
        "safetyRatings": ratings,
        "avgLogprobs": -0.5,
        "groundingMetadata": {"q": ["x"]},
        "parts": [{"videoMetadata": {"fps": 1}}],
        "citationMetadata": {"c": 1},
        "finishMessage": "done",
    }


def test_code_and_pictures_of_the_model_are_kept_and_go_back() -> None:
    """Parts that are no text stand in the choice's fields; with the rest of the answer they go back as they came."""
    parts: list[Any] = [
        {"text": "Let me see."},
        {"executableCode": {"id": "1", "language": "PYTHON", "code": "1+1"}},
        {"codeExecutionResult": {"id": "1", "outcome": "OUTCOME_OK", "output": "2"}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "c2ln"},
        {"toolCall": {"toolType": "GOOGLE_SEARCH", "id": "2", "args": {}}},
    ]
    received = stream(*(chunk(part) for part in parts), chunk(finishReason="STOP"))

    unsigned = [{key: value for key, value in part.items() if key != "thoughtSignature"} for part in parts[1:]]
    assert good(received).completion.choices[0].provider_fields == {"parts": unsigned}
    assert replayed(message(received)) == parts


def test_signatures_go_back_byte_exact_where_they_were() -> None:
    """On text, on an empty last part and on calls; unsigned text that came in pieces is one part again."""
    signature = 'CiQB+/==\u00e9\\/ "x"'
    received = stream(
        chunk({"text": "Think", "thought": True}),
        chunk({"text": "ing", "thought": True, "thoughtSignature": "first"}),
        chunk({"text": "On"}),
        chunk({"text": "ce"}),
        chunk({"text": "", "thoughtSignature": signature}, **STOP),
    )

    assert message(received).text == "Once"
    assert replayed(message(received)) == [
        {"text": "Think", "thought": True},
        {"text": "ing", "thought": True, "thoughtSignature": "first"},
        {"text": "Once"},
        {"text": "", "thoughtSignature": signature},
    ]


def test_an_answer_whose_fields_say_it_all_has_no_state() -> None:
    """Plain text and calls without ids are rebuilt from the message: nothing more travels with it."""
    received = stream(
        chunk({"text": "Hm", "thought": True}),
        chunk({"text": "Yes"}, {"functionCall": {"name": "f", "args": {}}}, {"inlineData": {"data": "AA"}}, **STOP),
    )

    assert message(received).provider_state == b""


def test_keys_that_are_null_or_empty_mean_nothing() -> None:
    """Gateways send every key that their types have: such a part is text, or a call, and needs no state."""
    blank = {"functionCall": None, "inlineData": None, "thoughtSignature": "", "thought": None, "videoMetadata": None}
    call = {"name": "f", "args": {"a": None}, "id": None, "partialArgs": None, "willContinue": None}
    received = stream(
        chunk({**blank, "text": "Yes"}, finishReason=None, safetyRatings=[], citationMetadata=None),
        chunk({**blank, "text": "", "functionCall": call}, top={"promptFeedback": None, "usageMetadata": None}),
        chunk({**blank, "text": "both", "functionCall": {"name": "g"}}, **STOP),
    )

    assert (message(received).text, message(received).provider_state) == ("Yesboth", b"")
    assert calls(received) == [("f", {"a": None}), ("g", {})]
    assert received.completion.choices[0].provider_fields == {}


def test_log_probabilities_come_with_the_text() -> None:
    """Chosen tokens with their likely others, natural logarithms as sent."""
    result = {
        "chosenCandidates": [{"token": "a", "tokenId": 1, "logProbability": -0.5}, {"token": "b"}],
        "topCandidates": [
            {"candidates": [{"token": "a", "logProbability": -0.5}, {"token": "z", "logProbability": -3}]}
        ],
    }
    received = stream(chunk({"text": "ab"}, logprobsResult=result, **STOP))

    assert good(received).completion.choices[0].logprobs == (
        TokenLogprob("a", -0.5, top=(TopLogprob("a", -0.5), TopLogprob("z", -3.0))),
        TokenLogprob("b", -9999.0),
    )


def test_several_candidates_are_several_choices() -> None:
    """Each keeps its text, calls and end."""
    received = stream(
        chunk({"text": "a"}),
        chunk({"text": "b"}, {"functionCall": {"name": "f"}}, index=1),
        chunk(finishReason="MAX_TOKENS", index=0),
        chunk(finishReason="STOP", index=1),
    )
    choices = good(received).completion.choices

    assert [(choice.message.text, choice.finish_reason) for choice in choices] == [
        ("a", FinishReason.LENGTH),
        ("b", FinishReason.TOOL_CALLS),
    ]


def test_models_are_listed_page_by_page() -> None:
    """Names lose their prefix and keep their other fields; the next page's token leads on."""
    body = {
        "models": [{"name": "models/gemini-x", "displayName": "X", "inputTokenLimit": 8}, {"name": "tunedModels/y"}],
        "nextPageToken": "a b",
    }
    page = ADAPTER.decode_models(json.dumps(body).encode())
    request = ADAPTER.models_request(Credential(API, "http://h/v1beta?k=1", {"x-goog-api-key": "k"}), page.next)

    assert [(model.id, model.owned_by, model.provider_fields) for model in page.models] == [
        ("gemini-x", "", {"displayName": "X", "inputTokenLimit": 8}),
        ("tunedModels/y", "", {}),
    ]
    assert (request.method, request.body) == ("GET", b"")
    assert request.url == "http://h/v1beta/models?k=1&pageSize=1000&pageToken=a+b"
    assert request.headers == {"Accept": "application/json", "x-goog-api-key": "k"}
    assert ADAPTER.decode_models(b"{}").models == ()


@pytest.mark.parametrize("body", [b'{"data":[]}', b'{"models":{}}', b"[]", b"<html>"])
def test_what_is_no_model_list_is_told(body: bytes) -> None:
    """Another server's list is a protocol error, an error is itself."""
    with pytest.raises(ProtocolError):
        ADAPTER.decode_models(body)
    with pytest.raises(EndpointRejected):
        ADAPTER.decode_models(b'{"error":{"code":400,"status":"INVALID_ARGUMENT"}}')
