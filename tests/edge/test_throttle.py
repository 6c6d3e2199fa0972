"""Log lines about calls that never began are bounded, and none is lost without a word."""

import asyncio
from collections import Counter
from pathlib import Path

import structlog

from integration_api.rpc.throttle import MOST_LINES, Throttle
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.edge.access_world import UNKNOWN_CALLER, serving, token_line
from tests.edge.loopback import until
from tests.edge.reading import Failure, fail


class Lines:
    """A log that keeps its lines, and can break."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, object, object]] = []
        self.broken = False

    def info(self, event: str, **fields: object) -> None:
        if self.broken:
            raise BrokenPipeError("nobody reads")
        self.lines.append((event, fields["reason"], fields["number"]))


async def test_what_is_not_written_is_counted() -> None:
    """For each event and reason by itself; told once, though nothing further comes."""
    lines = Lines()
    throttle = Throttle(lines)
    allowed = Counter(reason for reason in ("A", "B") * 500 if throttle.allow("call.failed", reason))
    assert throttle.allow("call.cancelled", "A")
    await until(lambda: len(lines.lines) == 2)

    assert allowed == {"A": MOST_LINES, "B": MOST_LINES}
    assert sorted(lines.lines) == [("call.failed.more", reason, 500 - MOST_LINES) for reason in ("A", "B")]
    assert throttle.allow("call.failed", "A")


async def test_a_broken_log_does_not_break_the_count() -> None:
    """Its next second begins all the same."""
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    lines = Lines()
    lines.broken = True
    throttle = Throttle(lines)
    while throttle.allow("call.failed", "A"):
        pass
    await until(lambda: throttle.allow("call.failed", "A"))

    assert not lines.lines
    assert not unhandled


async def test_a_thousand_strangers_are_a_few_lines(tmp_path: Path) -> None:
    """Every one of them gets its status, with all that belongs to it."""
    (tmp_path / "tokens").write_text(token_line("billing", "b"))

    async def refused(stub: ChatServiceStub) -> Failure:
        return await fail(stub.Chat(pb.ChatRequest(provider_id="nobody")))

    with structlog.testing.capture_logs() as logs:
        async with serving(auth_tokens_file=str(tmp_path / "tokens")) as (_, stub):
            failures = await asyncio.gather(*(refused(stub) for _ in range(1_000)))
            lines = [line for line in logs if line["event"].startswith("call.failed")]
            await until(lambda: sum(line.get("number", 1) for line in logs if "call.failed" in line["event"]) == 1_000)

    assert {(failure.code, failure.reason) for failure in failures} == {UNKNOWN_CALLER}
    assert {failure.trailers["grpc-retry-pushback-ms"] for failure in failures} == {"-1"}
    assert len({failure.trailers["x-request-id"] for failure in failures}) == 1_000
    assert MOST_LINES <= len(lines) < 1_000
