"""What one API is to the sandbox: a way to read a request, and ways to write an answer.

Rule: an API format is a value made of pure functions. The network stands in `server` and `delivery`.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from integration_api.sandbox.check import Fields, refuse
from integration_api.sandbox.scenario import HttpError, Request, Scenario, Wire, count_words
from integration_api.sandbox.script import ScriptError, UnknownScriptError, parse
from integration_api.sandbox.wire import JsonObject


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request before it is understood; Gemini has the model and the wish for a stream in the path."""

    body: Fields
    headers: Mapping[str, str]
    query: Mapping[str, str]
    model: str = ""
    stream: bool = False


@dataclass(frozen=True, slots=True)
class ModelList:
    """The model list of an API: a page of it, by the request's query, and one model. `page` raises RefusedError."""

    page: Callable[[Mapping[str, str]], JsonObject]
    one: Callable[[str], JsonObject]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an API is on the endpoint.

    `operations` are the paths that are posted to; of one with a `{target}` that is a model and one of `methods`, each
    of which streams or does not. `models` is the path of the model list. Paths that begin with `own` are this API's
    alone; `header` is one that tells it where a path does not.
    """

    operations: tuple[str, ...]
    own: str
    models: str = "/v1/models"
    header: str = ""
    methods: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApiFormat:
    """An API.

    `read` raises RefusedError. `stream` gives what goes over the wire; `whole` the body of an answer without streaming;
    `error` the body of an error; `headers` those that every answer has. A key may be in one of `key_headers`, or in the
    query as `key_parameter`. `emptied` is a whole answer without what was said, `usage` where one has its counts.
    """

    name: str
    place: Place
    models: ModelList
    key_headers: tuple[str, ...]
    read: Callable[[RawRequest], Request]
    stream: Callable[[Request, Scenario], Iterator[Wire]]
    whole: Callable[[Request, Scenario], JsonObject]
    error: Callable[[HttpError], JsonObject]
    headers: Callable[[], Mapping[str, str]]
    emptied: Callable[[JsonObject], JsonObject]
    usage: str = "usage"
    key_parameter: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a conversation says, in the words that all APIs share.

    `text` counts as input; `asked`: it is what the user says; `result`: it is a tool's result.
    """

    text: str
    asked: bool = False
    result: bool = False


def begin(model: str, turns: Iterable[Turn], not_found: str) -> Request:
    """The request for a model after a conversation. Raises RefusedError for a model that is no script."""
    try:
        script = parse(model)
    except UnknownScriptError:
        raise refuse(not_found, "model", "model_not_found", 404) from None
    except ScriptError as error:
        raise refuse(f"Invalid value for 'model': {error}.", "model", "invalid_value") from error
    conversation = tuple(turns)
    results: list[str] = []
    for turn in reversed(conversation):
        if not turn.result:
            break
        results.append(turn.text)
    prompt = next((turn.text for turn in reversed(conversation) if turn.asked), "")
    return replace(
        Request(model=model, script=script, answer_id=secrets.token_hex(12), created=int(time.time())),
        prompt=prompt,
        words=sum(count_words(turn.text) for turn in conversation),
        results=tuple(reversed(results)),
        turns=sum(turn.result for turn in conversation),
    )


def logprob_of(number: int) -> float:
    """A plausible log probability of the alternative with this rank."""
    return round(-0.125 - 1.5 * number, 3)


def alternatives(token: str, count: int) -> list[tuple[str, float]]:
    """The token and its likeliest alternatives, each with its log probability."""
    return [(token if number == 0 else f"{token}~{number}", logprob_of(number)) for number in range(count)]
