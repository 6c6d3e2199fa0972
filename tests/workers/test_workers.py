"""`serve --workers 2`, as a process with its workers."""

import asyncio
import json
import os
import signal
import socket
import sys
import urllib.request
from pathlib import Path

import grpc
import pytest

from integration_api.sandbox import Sandbox
from integration_api.settings import Settings
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from integration_api.workers import messages
from integration_api.workers.supervisor import NoWorkerError, Supervisor
from integration_api.workers.worker import UNUSABLE
from tests.asking import chat_request
from tests.edge.loopback import free_port, until
from tests.edge.processes import ROOT, run
from tests.edge.program import Program
from tests.edge.reading import Received, listen
from tests.patience import within

_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))


def processes_of(pid: int) -> list[int]:
    """The processes that a supervisor has started, the workers first."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(child) for child in children.split()]


async def metric(port: int, line: str) -> float:
    """The value of one series; 0 where there is none."""

    def fetch() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=within(10)) as answer:
            return str(answer.read().decode())

    text = await asyncio.to_thread(fetch)
    return next((float(each.rpartition(" ")[2]) for each in text.splitlines() if each.startswith(f"{line} ")), 0.0)


async def test_workers_share_a_port_and_one_that_dies_is_replaced(sandbox: Sandbox, tmp_path: Path) -> None:
    """Connections spread over both; the calls of the killed one end with a status, those of the other go on; then
    there are two again, the counts are of all, as is the audit file, and a second server on the port fails."""
    admin, audit = free_port(), tmp_path / "audit"
    flags = ("--admin-port", str(admin), "--shutdown-grace", "20", "--audit-file", str(audit))
    async with Program("--workers", "2", *flags) as program:
        await until(lambda: len(processes_of(program.pid)) == 3, 10, "two workers, and one process that stands ready")
        *first, spare = processes_of(program.pid)
        channels = [grpc.aio.insecure_channel(f"127.0.0.1:{program.port}", options=_OPTIONS) for _ in range(16)]
        request = chat_request(sandbox.url, "tokens:n=100000,gap=50ms")
        calls = [ChatServiceStub(channel).StreamChat(request) for channel in channels]
        listening = [asyncio.create_task(listen(call)) for call in calls]
        await until(lambda: sandbox.connections == 16, 10)
        assert await metric(admin, "integration_api_running_calls") == 16

        os.kill(first[0], signal.SIGKILL)
        # Once it is gone all its sockets are closed, and so the count of connections falls at once to what is left.
        await until(lambda: bool(program.said("worker.lost")), 10, "the loss is said")
        await until(lambda: sandbox.connections < 16, 5)
        await until(lambda: sum(map(_done, listening)) + sandbox.connections == 16, 10, "the lost calls end")
        left = sandbox.connections
        assert 0 < left < 16, "all connections went to one worker"
        done = [task for task in listening if task.done()]
        failures = [task.result().failure for task in done]
        assert {failure.code for failure in failures if failure} == {grpc.StatusCode.UNAVAILABLE}
        assert len(failures) == 16 - left

        await until(lambda: len(program.said("worker.started")) == 3, 20, "a new worker")
        (lost,) = program.said("worker.lost")
        assert (lost["pid"], lost["code"]) == (first[0], -9)
        assert spare in processes_of(program.pid), "what stood ready took its place"
        answer = await ChatServiceStub(channels[0]).Chat(
            chat_request(sandbox.url, "echo", "again"), timeout=within(10), wait_for_ready=True
        )
        assert answer.choices[0].message.text == "again"
        assert await metric(admin, "integration_api_workers") == 2
        assert await metric(admin, "integration_api_worker_restarts_total") == 1
        second = await asyncio.to_thread(run, "serve", "--port", str(program.port))
        assert second.returncode == 1
        assert "the address is taken" in second.stderr

        program.send(signal.SIGTERM)
        await until(lambda: bool(program.said("server.draining")), 10)
        await asyncio.sleep(0.3)
        assert sandbox.connections >= left, "a drain cut running calls"
        for call in calls:
            call.cancel()
        assert await program.ended(within(15)) == 0
        await asyncio.gather(*listening, return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in channels))
        assert not any(map(_lives, [*first, spare]))
        lines = [json.loads(line) for line in audit.read_text("utf-8").splitlines()]
        assert len(lines) == 1 + left, "the calls of those that were not killed"
        assert audit.stat().st_mode & 0o777 == 0o600


async def test_workers_end_with_their_supervisor() -> None:
    """Killed without a word, it leaves no process behind."""
    async with Program("--workers", "2") as program:
        await until(lambda: len(processes_of(program.pid)) == 3, 10, "all of them")
        pids = processes_of(program.pid)
        program.send(signal.SIGKILL)
        await program.ended(within(10))
        await until(lambda: not any(_lives(pid) for pid in pids), 10, "the workers are gone")


def _done(task: "asyncio.Task[Received]") -> bool:
    return task.done()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_it_gives_up_when_no_worker_comes_up(tmp_path: Path) -> None:
    """A file that was there when `serve` looked and is gone when the workers do: each says so, and then it is over."""
    settings = Settings(port=0, auth_tokens_file=str(tmp_path / "missing"))
    with pytest.raises(NoWorkerError, match=r"no worker comes up: .* exit code 3"):
        await Supervisor(settings, 2).run()


def test_a_wrong_number_is_refused() -> None:
    """Before anything starts."""
    ended = run("serve", "--workers", "none")

    assert ended.returncode == 2
    assert "workers must be a number" in ended.stderr


async def test_a_worker_says_why_it_cannot_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a line of its log, with an exit code of its own, also where the server is not even made."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    ours, theirs = socket.socketpair()
    with theirs:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "integration_api.commands.worker", str(theirs.fileno())),
            pass_fds=(theirs.fileno(),),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
    _, writer = await asyncio.open_connection(sock=ours)
    await messages.write(writer, messages.Start(Settings(port=0, otel=True, log_format="json"), 1, 2))
    _, printed = await worker.communicate()
    writer.close()

    assert worker.returncode == UNUSABLE
    (line,) = printed.decode().splitlines()
    assert json.loads(line)["event"] == "worker.unusable"
    assert "OTEL_TRACES_EXPORTER is 'console'" in json.loads(line)["error"]
