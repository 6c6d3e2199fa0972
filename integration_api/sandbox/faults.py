"""Faults of the whole endpoint, whatever model is asked: one for each check of `integration-api check`, by its id.

Rule: pure, one row each. A fault breaks one thing and leaves the rest as it is. What goes wrong in one answer only is a
script, see `failures`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from integration_api.sandbox.api_format import ApiFormat
from integration_api.sandbox.building import paced
from integration_api.sandbox.scenario import HttpError, Pause, Reply, Request, Scenario, Text
from integration_api.sandbox.wire import JsonObject, without

_LATE: Final = 3.5
_GAP: Final = 0.05
_IMAGES: Final = (b'"image_url"', b'"input_image"', b'"type":"image"', b'"inlineData"')


def _no_reply(request: Request, body: bytes) -> Reply | None:
    del request, body
    return None


def _same(request: Request, scenario: Scenario) -> Scenario:
    del request
    return scenario


def _whole(api_format: ApiFormat, body: JsonObject) -> JsonObject:
    del api_format
    return body


@dataclass(frozen=True, slots=True)
class Fault:
    """What is broken.

    `instead` of an answer comes this reply; `changed` is what becomes of an answer, `whole` of the body of one without
    streaming. `prefix` stands before every path, `drops`: connections are closed without a byte, `lists`: there is a
    model list, `keys`: whether keys are taken (None: as the sandbox is set up), `vague`: errors do not say
    what is wrong with a request, `sticks`: it answers nothing more once a client hung up.
    """

    does: str
    instead: Callable[[Request, bytes], Reply | None] = _no_reply
    changed: Callable[[Request, Scenario], Scenario] = _same
    whole: Callable[[ApiFormat, JsonObject], JsonObject] = _whole
    prefix: str = ""
    drops: bool = False
    lists: bool = True
    keys: bool | None = None
    vague: bool = False
    sticks: bool = False


def _refused(message: str, status: int = 400, code: str | None = None) -> HttpError:
    return HttpError(status, message, code)


def _unless(wrong: Callable[[Request, bytes], bool], refusal: Reply) -> Callable[[Request, bytes], Reply | None]:
    """The refusal of requests of a kind."""
    return lambda request, body: refusal if wrong(request, body) else None


def _endless(request: Request, scenario: Scenario) -> Scenario:
    return replace(scenario, finish=None) if request.stream and not request.tools else scenario


def _calls_lost(request: Request, scenario: Scenario) -> Scenario:
    """A stream says in words what a whole answer says as a call."""
    if not (request.stream and request.tools):
        return scenario
    return replace(scenario, steps=(Text("It"), Text(" is"), Text(" sunny.")))


def _garbled(request: Request, scenario: Scenario) -> Scenario:
    """UTF-8 read as Latin-1, as a proxy in front of many a server does."""
    del request
    steps = (
        Text(step.text.encode("utf-8", "replace").decode("latin-1")) if isinstance(step, Text) else step
        for step in scenario.steps
    )
    return replace(scenario, steps=tuple(steps))


def _late(request: Request, scenario: Scenario) -> Scenario:
    if not request.stream or request.tools:
        return scenario
    return replace(scenario, steps=(Pause(_LATE), *scenario.steps))


def _slow(request: Request, scenario: Scenario) -> Scenario:
    """Slow enough for a client to hang up in its middle."""
    return replace(scenario, steps=tuple(paced(tuple(scenario.steps), _GAP))) if request.stream else scenario


_TEMPERATURE: Final = b'"temperature"'

FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        "reach": Fault("closes every connection without an answer", drops=True),
        "path": Fault("serves its APIs below /api: /api/v1, /api/v1beta", prefix="/api"),
        "auth": Fault("refuses every key", keys=False),
        "auth_refused": Fault("takes every key", keys=True),
        "models": Fault("has no model list", lists=False),
        "model": Fault(
            "knows none of the models that it lists",
            _unless(lambda *_: True, _refused("The model does not exist.", 404, "model_not_found")),
        ),
        "chat": Fault("fails at every chat", _unless(lambda *_: True, _refused("CUDA error: out of memory", 500))),
        "structure": Fault(
            "leaves the content out of whole answers", whole=lambda api_format, body: api_format.emptied(body)
        ),
        "usage": Fault(
            "counts no tokens in whole answers", whole=lambda api_format, body: without(body, api_format.usage)
        ),
        "parameters": Fault(
            "refuses a temperature",
            _unless(lambda _, body: _TEMPERATURE in body, _refused("Unsupported parameter: 'temperature'.")),
        ),
        "stream": Fault("does not stream", _unless(lambda asked, _: asked.stream, _refused("Streaming is disabled."))),
        "stream_end": Fault("ends streams without a terminal sign", changed=_endless),
        "tools": Fault(
            "refuses tools", _unless(lambda asked, _: bool(asked.tools), _refused("Tools are not supported here."))
        ),
        "tools_stream": Fault("loses the tool calls of streams", changed=_calls_lost),
        "tool_result": Fault(
            "cannot read the results of tools",
            _unless(lambda asked, _: bool(asked.results), _refused("Unexpected role 'tool'.")),
        ),
        "structured_output": Fault(
            "refuses schemas",
            _unless(lambda asked, _: asked.schema is not None, _refused("Structured output is not supported here.")),
        ),
        "images": Fault(
            "refuses images",
            _unless(lambda _, body: any(word in body for word in _IMAGES), _refused("This model has no vision.")),
        ),
        "errors": Fault("tells nothing of what is wrong with a request", vague=True),
        "unicode": Fault("garbles every character beyond ASCII", changed=_garbled),
        "cancel": Fault("answers nothing more once a client hung up", changed=_slow, sticks=True),
        "latency": Fault("is slow to begin", changed=_late),
    }
)
SOUND: Final = Fault("is sound")
