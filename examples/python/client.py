"""A client in Python: one Chat, one StreamChat, one that is cancelled, and an error with what to do about it.

python client.py --address 127.0.0.1:9004 --base-url http://127.0.0.1:8000/v1 [--token TOKEN] [--ca ca.pem]
"""

import argparse
import asyncio
from pathlib import Path

import grpc

from integration_api.client import ChatRequest, ChatResponse, Client, ServiceError, TextDelta, chat_request, endpoint

# It talks for minutes.
LONG = "tokens:n=10000,gap=20ms"


async def interrupted(client: Client, request: ChatRequest) -> int:
    """How many pieces of text came before the stream was left, which ends the call, and the endpoint's work."""
    pieces = 0
    async with client.stream_chat(request) as events:
        async for event in events:
            pieces += isinstance(event, TextDelta)
            if pieces == 3:
                break
    return pieces


async def main() -> None:
    """Make the calls and print what comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:9004")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--failing", default="http-error:status=401", help="the model of the call that fails")
    parser.add_argument("--token", default="", help="says who calls, where the service wants to know")
    parser.add_argument("--ca", type=Path, help="the authority of the service's certificate; without it no TLS")
    given = parser.parse_args()

    def request(model: str, text: str) -> ChatRequest:
        return chat_request(text, model=model, credential=endpoint(given.base_url))

    tls = grpc.ssl_channel_credentials(given.ca.read_bytes()) if given.ca else None
    # The deadline is each call's. Keepalive is the client's own, and so are retries, where the service invites one.
    async with Client(given.address, token=given.token, tls=tls, timeout=30) as client:
        answer = await client.chat(request("echo", "hello from python"))
        print("answer:", answer.choices[0].message.text)
        async for event in client.stream_chat(request("tokens:n=5,gap=10ms", "count")):
            if isinstance(event, TextDelta):
                print(event.text, end="|", flush=True)
            if isinstance(event, ChatResponse):  # always the last one
                print("\ntokens:", event.usage.output_tokens)
        print("cancelled after", await interrupted(client, request(LONG, "go on")), "pieces")
        try:
            await client.chat(request(given.failing, "no"))
        except ServiceError as error:
            print("error:", error.code.name, error.reason, "fault:", error.fault)
            print("what to do:", error.remedy)


if __name__ == "__main__":
    asyncio.run(main())
