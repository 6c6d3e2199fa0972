"""What is asked of every family, and the record of what each has on the wire for it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from integration_api.v1 import chat_service_pb2 as pb

Json = Any
Body = dict[str, Json]

PNG = "iVBORw0KGgo="
PICTURE = f"data:image/png;base64,{PNG}"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "celsius": {"type": "integer"}},
    "required": ["city", "celsius"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "report", "schema": SCHEMA, "strict": True}}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ZONE = {"type": "object", "properties": {"zone": {"type": "string"}}}
# The arguments of the two calls of `situations.RESULTS`, and of the one of every other conversation: as text, as value.
ROME, AREA = '{"city":"Rome"}', '{"zone":"Europe/Rome"}'
CITY_OF: Json = {"city": "Rome"}
ZONE_OF: Json = {"zone": "Europe/Rome"}
# A call whose arguments have keys in an order of their own.
ARGUMENTS = '{"zulu":1,"alpha":{"yankee":[2,1],"bravo":null},"mike":"ü \\u2028"}'
VALUE = json.loads(ARGUMENTS)
FUNCTION = {"name": "weather", "arguments": ARGUMENTS}
# As text they return as they came; as an object they are written anew.
AS_TEXT = json.dumps(ARGUMENTS, ensure_ascii=False)
AS_OBJECT = json.dumps(VALUE, ensure_ascii=False, separators=(",", ":"))
# What `parameters` and `test_every_parameter` ask for.
STOPS = ["END", "\n"]
BIAS: Json = {"50256": -100}
USER_ID: Json = {"user_id": "u-2"}
NAMED = '{"type": "function", "function": {"name": "weather"}}'
# What the sandbox's scripts think and say.
THOUGHT = "The user wants to hear the same words again."
CALL_THOUGHT = "I must look at the weather first."
SPOKEN = "Hello there word3"
TOLD = "The tool says: 21 °C"


@dataclass(frozen=True)
class Origin:
    """The first answer of a conversation, as it came through a shape, and the strings that are its state."""

    shape: str
    answer: pb.ChatResponse
    seals: tuple[str, ...]
    streamed: bool

    @property
    def text(self) -> str:
        return self.answer.choices[0].message.text

    @property
    def call_id(self) -> str:
        return self.answer.choices[0].message.tool_calls[0].id

    @property
    def answer_id(self) -> str:
        return self.answer.response_id.removeprefix("resp_")

    def thought(self, *, call: bool) -> str:
        """What the model thought before it answered."""
        return CALL_THOUGHT if call else THOUGHT


def same(names: Mapping[str, Json]) -> dict[str, Body]:
    """Parameters that have their own names at the top of the body, with their values."""
    return {name: {name: value} for name, value in names.items()}


@dataclass(frozen=True)
class Family:
    """One family on the wire. Bodies stand here without what every request has (`envelope`).

    Attributes:
        name: of the family.
        root: what a base URL ends with, as the documentation of the API gives it.
        path: path and query of a request for a model, as a stream or not.
        tools: of `situations.TOOLS`, the list; `response_format`, `plain`: what `FORMAT` and a user's text are.
        rules, images, results: the bodies of the situations of these names, the last without its tools.
        conversation: the last body of `test_conversation` without tools and format, by the id of its call.
        parameters: the fields of each parameter that the family has, for the value in `parameters.ROWS`.
        tool_choice: the fields of each word, and of `NAMED`.
        formats: the fields of a `response_format` without a schema; None for one that is refused.
        ends: the endpoint's word for each finish reason.
        refusal: text and refusal of a model that refuses; `refusal_is_filter`: its end says so.
        called: a whole answer with a call of `FUNCTION`; `arguments`: as they go back.
        media: what a user's message carries beyond text and images that the API's SDK has types for.
        state_names: what the state is called that an answer brings; none of them may stand in another family's body.
        native: the first answer of a move in its own form, `rebuilt`: from its text and call; `result`: a tool's,
            where the shape is that of the call or is not. `call`: it is a tool call.
        headers: of every request; `streamed`: fields of one for a stream.
        names_model: the body does; `failure_has_a_field`: a tool's result need not say it in words.
        whole, first: a whole answer that says `fine`, and the first event of one that says `one `.
    """

    name: str
    root: str
    path: Callable[[str, bool], str]
    tools: list[Json]
    response_format: Body
    plain: Callable[[str], Body]
    rules: Body
    images: Body
    results: Body
    conversation: Callable[[str], Body]
    parameters: Mapping[str, Body]
    tool_choice: Mapping[str, Body]
    formats: Mapping[str, Body | None]
    ends: Mapping[int, str]
    refusal: tuple[str, str]
    called: Body
    arguments: str
    media: list[Json]
    state_names: tuple[str, ...]
    native: Callable[[Origin, bool], list[Json]]
    rebuilt: Callable[[Origin, bool], list[Json]]
    result: Callable[[Origin, bool], Json]
    whole: Body
    first: Body
    headers: Mapping[str, str] = field(default_factory=dict)
    envelope: Body = field(default_factory=dict)
    streamed: Body = field(default_factory=dict)
    names_model: bool = True
    failure_has_a_field: bool = False
    refusal_is_filter: bool = False
