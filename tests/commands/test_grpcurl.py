"""What grpcurl does with the service: another program, in another language, speaks our contract.

Skipped where grpcurl is not there, unless REQUIRE_GRPCURL is set, as the CI does.
"""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.edge.processes import ROOT, SECONDS, Running, service

GRPCURL = next(
    (
        found
        for place in (ROOT / ".cache/bin", os.environ.get("PATH", os.defpath), Path.home() / "go/bin")
        if (found := shutil.which("grpcurl", path=str(place)))
    ),
    None,
)
REQUIRED = bool(os.environ.get("REQUIRE_GRPCURL"))

pytestmark = [
    pytest.mark.grpcurl,
    pytest.mark.skipif(
        GRPCURL is None and not REQUIRED,
        reason="NO GRPCURL HERE: nothing of what the pages say of it was tested. `make grpcurl` installs it.",
    ),
]


def grpcurl(*args: str, data: object = None) -> "subprocess.CompletedProcess[str]":
    assert GRPCURL is not None, "REQUIRE_GRPCURL is set, and there is no grpcurl: `make grpcurl` installs it"
    return subprocess.run(
        [GRPCURL, "-plaintext", *(() if data is None else ("-d", "@")), *args],
        input=None if data is None else json.dumps(data),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
        cwd=ROOT,
    )


def asked(base_url: str, model: str, **changes: Any) -> dict[str, Any]:
    return {
        "providerId": "custom-llm",
        "credential": {"value": {"apiCompatibility": "openai_compatible", "baseUrl": base_url}},
        "messages": [{"user": {"content": [{"text": "Hello there"}]}}],
        "modelParameters": {"model.name": model},
        **changes,
    }


def messages(output: str) -> list[Any]:
    """The JSON objects that grpcurl printed one behind the other."""
    decoder, found, rest = json.JSONDecoder(), [], output.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].lstrip()
    return found


def failure(ended: "subprocess.CompletedProcess[str]") -> tuple[str, dict[str, Any]]:
    """The status and the details that grpcurl printed, by the last word of their type."""
    assert ended.returncode != 0
    status = re.search(r"Code: (\w+)", ended.stderr)
    assert status, ended.stderr
    _, found, details = ended.stderr.partition("Details:")
    assert found, ended.stderr
    objects = re.sub(r"^\s*\d+\)\s*", "", details, flags=re.MULTILINE)
    return status[1], {value["@type"].rpartition(".")[2]: value for value in messages(objects)}


@pytest.mark.parametrize("service_name", ["integration_api.v1.ChatService", "grpc.health.v1.Health"])
def test_list_shows_the_services(server: Running, service_name: str) -> None:
    """`grpcurl list` shows our service and the standard health service."""
    ended = grpcurl(server.address, "list")
    assert ended.returncode == 0, ended.stderr
    assert service_name in ended.stdout.splitlines()


def test_describe_shows_the_contract(server: Running) -> None:
    """`grpcurl describe` shows the methods of the service and the fields of a message."""
    described = grpcurl(server.address, "describe", "integration_api.v1.ChatService")
    for method in ("Chat", "StreamChat", "VerifyCredential", "ListModels", "Prewarm"):
        assert f"rpc {method} (" in described.stdout
    described = grpcurl(server.address, "describe", "integration_api.v1.ChatRequest")
    assert "credential = 3" in described.stdout


def test_health_answers(server: Running) -> None:
    """The standard health service says SERVING for our service."""
    data = {"service": "integration_api.v1.ChatService"}
    ended = grpcurl(server.address, "grpc.health.v1.Health/Check", data=data)
    assert messages(ended.stdout) == [{"status": "SERVING"}]


def test_chat_answers(server: Running, endpoint: str) -> None:
    """`Chat` answers with the whole message, why it ended, and usage."""
    ended = grpcurl(server.address, "integration_api.v1.ChatService/Chat", data=asked(endpoint, "echo"))
    assert ended.returncode == 0, ended.stderr
    (answer,) = messages(ended.stdout)
    (choice,) = answer["choices"]
    assert choice["message"]["text"] == "Hello there"
    assert choice["finishReason"] == "FINISH_REASON_STOP"
    assert answer["usage"] == {
        "inputTokens": 2,
        "outputTokens": 2,
        "totalTokens": 4,
        "cachedInputTokens": 0,
        "reasoningTokens": 0,
        "source": "USAGE_SOURCE_REPORTED",
    }


def test_stream_chat_streams(server: Running, endpoint: str) -> None:
    """`StreamChat` begins with `started`, sends the text in pieces, and ends with the whole answer."""
    data = asked(endpoint, "tokens:n=5,gap=20ms")
    ended = grpcurl(server.address, "integration_api.v1.ChatService/StreamChat", data=data)
    assert ended.returncode == 0, ended.stderr
    frames = messages(ended.stdout)
    kinds = [next(iter(frame)) for frame in frames]
    assert (kinds[0], set(kinds[1:-1]), kinds[-1]) == ("started", {"textDelta"}, "completed")
    assert 1 < len(kinds[1:-1]) <= 5  # a busy machine reads two at once
    text = "".join(frame["textDelta"]["text"] for frame in frames[1:-1])
    assert text == frames[-1]["completed"]["choices"][0]["message"]["text"] == "word1 word2 word3 word4 word5"


def test_prewarm_tells_of_each_target(server: Running, endpoint: str) -> None:
    """`Prewarm` opens connections, and says what it took or what is wrong, as docs/reliability.md shows."""
    targets = [
        {
            "providerId": "custom-llm",
            "credential": {"value": {"baseUrl": endpoint, "headers": {"Authorization": "Bearer of its own"}}},
        },
        {"providerId": "custom-llm", "credential": {"name": "spare"}},
    ]
    ended = grpcurl(server.address, "integration_api.v1.ChatService/Prewarm", data={"targets": targets})
    assert ended.returncode == 0, ended.stderr
    (answer,) = messages(ended.stdout)
    ready, missing = answer["results"]
    assert (ready["ok"], ready["message"]) == (True, "1 ready, 1 opened now")
    assert {"resolve", "connect", "tls"} <= ready.keys()
    assert (missing["target"], missing["reason"]) == (1, "CREDENTIAL_NOT_FOUND")


def test_a_tool_is_called(server: Running, endpoint: str) -> None:
    """A tool's definition goes in and its call comes out, in the JSON of the contract."""
    tool = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    ended = grpcurl(
        server.address, "integration_api.v1.ChatService/Chat", data=asked(endpoint, "tool-call", tools=[tool])
    )
    (answer,) = messages(ended.stdout)
    (call,) = answer["choices"][0]["message"]["toolCalls"]
    assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Rome"})


@pytest.mark.parametrize("method", ["Chat", "StreamChat"])
def test_a_credential_without_base_url_is_named(server: Running, method: str) -> None:
    """A missing base URL is INVALID_ARGUMENT, and BadRequest names the field."""
    data = asked("", "echo", credential={"value": {"headers": {}}})
    status, details = failure(grpcurl(server.address, f"integration_api.v1.ChatService/{method}", data=data))
    assert status == "InvalidArgument"
    assert details["ErrorInfo"]["reason"] == "CREDENTIAL_INVALID"
    assert details["ErrorInfo"]["domain"] == "integration-api"
    assert [violation["field"] for violation in details["BadRequest"]["fieldViolations"]] == [
        "credential.value.baseUrl"
    ]


def test_an_unknown_provider_is_refused(server: Running, endpoint: str) -> None:
    """A provider that nobody knows is INVALID_ARGUMENT with a reason of its own."""
    data = asked(endpoint, "echo", providerId="nobody")
    status, details = failure(grpcurl(server.address, "integration_api.v1.ChatService/Chat", data=data))
    assert (status, details["ErrorInfo"]["reason"]) == ("InvalidArgument", "UNKNOWN_PROVIDER")


def test_a_dead_endpoint_is_unavailable(server: Running) -> None:
    """An endpoint where nothing listens is UNAVAILABLE, with what to do in the text."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    data = asked(f"http://127.0.0.1:{port}/v1", "echo")
    status, details = failure(grpcurl(server.address, "integration_api.v1.ChatService/StreamChat", data=data))
    assert (status, details["ErrorInfo"]["reason"]) == ("Unavailable", "ENDPOINT_UNREACHABLE")


@pytest.mark.parametrize(
    ("symbol", "shown"),
    [
        ("integration_api.v1.ChatService.StreamChat", "rpc StreamChat"),
        ("integration_api.UnifiedProviderService.Chat", "rpc Chat"),
        ("integration_api.v1.ErrorReason", "ERROR_REASON_SERVICE_DRAINING"),
        ("integration_api.v1.Credential", "Endpoint endpoint = 3"),
        ("google.rpc.ErrorInfo", "string reason = 1"),
    ],
)
def test_describe_finds_methods_messages_and_enums(server: Running, symbol: str, shown: str) -> None:
    """Reflection knows every name of the contract, methods included."""
    ended = grpcurl(server.address, "describe", symbol)
    assert shown in ended.stdout, ended.stderr


def test_a_method_that_is_not_there_is_not_found(server: Running) -> None:
    """A wrong name stays NOT_FOUND."""
    ended = grpcurl(server.address, "describe", "integration_api.v1.ChatService.Sing")
    assert "not found" in ended.stderr.lower()


def test_everything_works_without_reflection(endpoint: str) -> None:
    """With reflection off grpcurl needs the protos of this repository, and nothing else."""
    with service("--no-reflection") as running:
        refused = grpcurl(running.address, "list")
        assert "does not support the reflection API" in refused.stderr
        ended = grpcurl(
            *("-import-path", "protos", "-proto", "integration_api/v1/chat_service.proto"),
            running.address,
            "integration_api.v1.ChatService/StreamChat",
            data=asked(endpoint, "tokens:n=3"),
        )
    assert messages(ended.stdout)[-1]["completed"]["choices"][0]["message"]["text"] == "word1 word2 word3"


def test_bytes_travel_as_base64(server: Running, endpoint: str) -> None:
    """A picture's bytes are base64 in JSON, as everywhere in proto3 JSON."""
    picture = {"image": {"data": base64.b64encode(b"\x89PNG").decode(), "mediaType": "image/png"}}
    data = asked(endpoint, "echo", messages=[{"user": {"content": [{"text": "Look"}, picture]}}])
    ended = grpcurl(server.address, "integration_api.v1.ChatService/Chat", data=data)
    assert messages(ended.stdout)[0]["choices"][0]["message"]["text"] == "Look"
