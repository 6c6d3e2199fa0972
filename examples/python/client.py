"""A client in Python: one Chat, one StreamChat, and an error with its details.

python client.py --address 127.0.0.1:9004 --base-url http://127.0.0.1:8000/v1
"""

import argparse
import json
import sys

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


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """What an error says beside its code: the reason, and who must act."""
    packed = dict(tuple(error.trailing_metadata()))["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(packed).details:
        if detail.Unpack(info):
            break
    return info


def main() -> None:
    """Make the calls and print what comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:9004")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--failing", default="http-error:status=401", help="the model of the call that fails")
    given = parser.parse_args()
    with grpc.insecure_channel(given.address, options=OPTIONS) as channel:
        client = stubs.ChatServiceStub(channel)
        answer = client.Chat(chat_request(given.base_url, "echo", "hello from python"), timeout=30)
        print("answer:", answer.choices[0].message.text)
        for frame in client.StreamChat(chat_request(given.base_url, "tokens:n=5,gap=10ms", "count"), timeout=30):
            if frame.HasField("text_delta"):
                print(frame.text_delta.text, end="|")
            if frame.HasField("completed"):
                print("\ntokens:", frame.completed.usage.output_tokens)
        try:
            client.Chat(chat_request(given.base_url, given.failing, "no"), timeout=30)
        except grpc.RpcError as error:
            info = error_info(error)
            print("error:", error.code().name, info.reason, "fault:", info.metadata["fault"])
    sys.stdout.flush()


if __name__ == "__main__":
    main()
