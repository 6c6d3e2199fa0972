"""Plays cases: a raw endpoint for each play behind the service, real gRPC calls in front of it."""

import asyncio
import copy
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict

from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import chat_service_pb2_grpc as stubs
from tests.cases.endpoint import listening
from tests.cases.judge import Outcome, wrong_requests, wrong_with
from tests.edge.reading import Failure, failure_of
from tests.patience import within

ROOT = Path(__file__).parent
_AT_ONCE = 24
# The service's words when the machine took it away just then, or a timeout that the endpoint's own pauses do not reach:
# the case says nothing then, and is played again. What is wrong is so each time.
_BUSY = ("this instance did not run for", "_TIMEOUT")
_LIMIT = 64 * 1024 * 1024
_REQUESTS = {
    "Chat": pb.ChatRequest,
    "StreamChat": pb.ChatRequest,
    "VerifyCredential": pb.VerifyCredentialRequest,
    "ListModels": pb.ListModelsRequest,
}
_BOTH = ("Chat", "StreamChat")
_KEYS = {"anthropic_messages": {"x-api-key": "k-123"}, "gemini_generate_content": {"x-goog-api-key": "k-123"}}


@dataclass(frozen=True)
class Case:
    """One case; its file's keys are README.md's."""

    id: str
    kind: str
    script: Mapping[str, Any]

    @property
    def methods(self) -> tuple[str, ...]:
        """The method that `both` stands for, once for each play."""
        both = any(call.get("method", "both") == "both" for call in self.script["calls"])
        return _BOTH if both else _BOTH[:1]


def cases() -> Iterable[Case]:
    """Every case that is sure, in the order of the files."""
    for path in sorted(ROOT.glob("*/*.json")):
        script = json.loads(path.read_text())
        if script.get("judged", "sure") == "sure":
            yield Case(f"{path.parent.name}/{path.stem}", script["kind"], script)


async def play_all(chosen: Iterable[Case], address: str) -> dict[str, list[str]]:
    """What is wrong with each case, by its id."""
    options = (("grpc.enable_retries", 0), ("grpc.max_receive_message_length", _LIMIT))
    turns = asyncio.Semaphore(_AT_ONCE)
    wrong: dict[str, list[str]] = {}
    used: set[int] = set()

    async def play(case: Case, stub: stubs.ChatServiceStub) -> None:
        async with turns:
            for _ in range(5):
                wrong[case.id] = [line for method in case.methods for line in await _played(case, method, stub, used)]
                if not any(words in line for words in _BUSY for line in wrong[case.id]):
                    break

    async with grpc.aio.insecure_channel(address, options=options) as channel, asyncio.TaskGroup() as group:
        for case in chosen:
            group.create_task(play(case, stubs.ChatServiceStub(channel)))
    return wrong


async def _played(case: Case, both: str, stub: stubs.ChatServiceStub, used: set[int]) -> list[str]:
    """One play: `both` is the method of calls that may use either, `used` the ports that endpoints had."""
    wrong: list[str] = []
    outcomes: list[Outcome] = []
    expected = case.script.get("expect", [])
    async with listening(case.script["endpoint"], used) as endpoint:
        base = f"http://127.0.0.1:{endpoint.port}"
        for number, call in enumerate(case.script["calls"]):
            method = call.get("method", "both")
            method = both if method == "both" else method
            request = _filled(call.get("request", {}), case.script["shape"], base, outcomes, method)
            outcomes.append(outcome := await _called(stub, method, request, call.get("timeout", within(10))))
            lines = wrong_with(outcome, expected[number] if number < len(expected) else {})
            wrong += [f"call {number}, {method}: {line}" for line in lines]
        wrong += [f"{both}: {line}" for line in wrong_requests(case.script.get("sent", []), endpoint.sent)]
    return wrong


async def _called(stub: stubs.ChatServiceStub, method: str, data: Mapping[str, Any], timeout: float) -> Outcome:  # noqa: ASYNC109 -- the call's deadline
    request = ParseDict(dict(data), _REQUESTS[method]())
    outcome, began = Outcome(method), time.monotonic()
    try:
        if method == "StreamChat":
            async for frame in stub.StreamChat(request, timeout=timeout):
                outcome.frames.append(MessageToDict(frame))
            (outcome.response,) = [frame["completed"] for frame in outcome.frames if "completed" in frame]
        else:
            outcome.response = MessageToDict(await getattr(stub, method)(request, timeout=timeout))
    except grpc.aio.AioRpcError as error:
        outcome.error = _told(failure_of(error))
    outcome.took = time.monotonic() - began
    return outcome


def _told(failure: Failure) -> dict[str, Any]:
    info = MessageToDict(failure.details["ErrorInfo"]) if "ErrorInfo" in failure.details else {}
    usage = MessageToDict(failure.details["PartialUsage"]) if "PartialUsage" in failure.details else {}
    return {
        "code": failure.code.name,
        "message": failure.message,
        "reason": info.get("reason", ""),
        "fault": info.get("metadata", {}).get("fault", ""),
        "retry": not failure.trailers.get("grpc-retry-pushback-ms", "-").startswith("-"),
        "usage": usage.get("usage", {}),
    }


def _filled(request: Mapping[str, Any], shape: str, base: str, outcomes: list[Outcome], method: str) -> dict[str, Any]:
    """The request with what a case may leave out: provider, credential, a message, a model."""
    filled: dict[str, Any] = copy.deepcopy(dict(request))
    if "provider_id" not in filled:
        filled.setdefault("providerId", "custom-llm")
    credential = filled.setdefault("credential", {})
    if "name" not in credential:
        value = credential.setdefault("value", {})
        if "api_compatibility" not in value:
            value.setdefault("apiCompatibility", shape)
        version = "/v1beta" if value.get("apiCompatibility") == "gemini_generate_content" else "/v1"
        if "base_url" not in value:
            value["baseUrl"] = value.get("baseUrl", f"{{base}}{version}").replace("{base}", base)
        value.setdefault("headers", _KEYS.get(shape, {"Authorization": "Bearer k-123"}))
    if method not in _BOTH:
        return filled
    filled["messages"] = [
        _replayed(message, outcomes)
        for message in filled.get("messages") or [{"user": {"content": [{"text": "Say hello."}]}}]
    ]
    parameters = filled.setdefault("modelParameters", filled.pop("model_parameters", {}))
    if not {"model", "model.name"} & set(parameters):
        parameters["model.name"] = "m"
    return filled


def _replayed(message: dict[str, Any], outcomes: list[Outcome]) -> dict[str, Any]:
    """`{"$answer": N}` is the assistant's message that call N gave."""
    if "$answer" not in message:
        return message
    choices = outcomes[message.pop("$answer")].response.get("choices") or [{}]
    return {"assistant": choices[0].get("message", {}), **message}
