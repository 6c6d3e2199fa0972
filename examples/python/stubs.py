"""The same in Python with the generated code alone, and without asyncio: for programs that have protos of their own.

python stubs.py --address 127.0.0.1:9004 --base-url http://127.0.0.1:8000/v1 [--token TOKEN] [--ca ca.pem]
"""

import argparse
import json
from pathlib import Path

import grpc
from google.rpc import error_details_pb2, status_pb2

from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import chat_service_pb2_grpc as stubs
from integration_api.v1 import messages_pb2 as msg

# A retry is made only where the service invites one: its trailer grpc-retry-pushback-ms is obeyed by this policy.
RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": "integration_api.v1.ChatService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
OPTIONS = (
    ("grpc.service_config", json.dumps(RETRIES)),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


def chat_request(base_url: str, model: str, text: str) -> pb.ChatRequest:
    """A request in typed fields."""
    return pb.ChatRequest(
        provider_id="custom-llm",
        credential=msg.Credential(endpoint=msg.Endpoint(api_compatibility="openai_compatible", base_url=base_url)),
        messages=[msg.Message(user=msg.UserMessage(content=[msg.ContentPart(text=text)]))],
        model=msg.ModelOptions(name=model),
    )


def explain(error: grpc.RpcError) -> None:
    """Print what an error says beside its code: the reason, who must act, and what to do."""
    packed = dict(tuple(error.trailing_metadata()))["grpc-status-details-bin"]
    info, links = error_details_pb2.ErrorInfo(), error_details_pb2.Help()
    for detail in status_pb2.Status.FromString(packed).details:
        detail.Unpack(info)
        detail.Unpack(links)
    print("error:", error.code().name, info.reason, "fault:", info.metadata["fault"])
    print("what to do:", links.links[0].description)


def interrupted(call: grpc.Call) -> int:
    """How many pieces of text came before the call was cancelled."""
    pieces = 0
    for frame in call:
        pieces += frame.HasField("text_delta")
        if pieces == 3:
            break
    call.cancel()
    return pieces


def channel_to(address: str, ca: Path | None) -> grpc.Channel:
    """A channel with TLS where an authority is named."""
    if ca is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca.read_bytes()), options=OPTIONS)


def main() -> None:
    """Make the calls and print what comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:9004")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--failing", default="http-error:status=401", help="the model of the call that fails")
    parser.add_argument("--token", default="", help="says who calls, where the service wants to know")
    parser.add_argument("--ca", type=Path, help="the authority of the service's certificate; without it no TLS")
    given = parser.parse_args()
    metadata = (("authorization", f"Bearer {given.token}"),) if given.token else ()
    with channel_to(given.address, given.ca) as channel:
        client = stubs.ChatServiceStub(channel)
        asked = chat_request(given.base_url, "echo", "hello from python")
        answer = client.Chat(asked, timeout=30, metadata=metadata)
        print("answer:", answer.choices[0].message.text)
        asked = chat_request(given.base_url, "tokens:n=5,gap=10ms", "count")
        for frame in client.StreamChat(asked, timeout=30, metadata=metadata):
            if frame.HasField("text_delta"):
                print(frame.text_delta.text, end="|", flush=True)
            if frame.HasField("completed"):
                print("\ntokens:", frame.completed.usage.output_tokens)
        asked = chat_request(given.base_url, "tokens:n=10000,gap=20ms", "go on")
        print("cancelled after", interrupted(client.StreamChat(asked, timeout=30, metadata=metadata)), "pieces")
        try:
            client.Chat(chat_request(given.base_url, given.failing, "no"), timeout=30, metadata=metadata)
        except grpc.RpcError as error:
            explain(error)


if __name__ == "__main__":
    main()
