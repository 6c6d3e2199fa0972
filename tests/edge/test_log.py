"""Lines leave through a queue: nobody waits for whoever reads the log, and what is lost is told."""

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from integration_api.files.reload import FileWatcher, Found, Reloaded, readable
from integration_api.log import QueuedWriter
from tests.edge.processes import ROOT
from tests.patience import within

_LINE = "x" * 999 + "\n"


def _told(lines: int) -> str:
    return json.dumps({"lost": lines}) + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: its reading and its writing end."""
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        with suppress(OSError):
            os.close(end)


def _read_until_told(reader: int, total: int) -> tuple[int, int]:
    """Whole lines, and how many are told as lost, once both make `total`."""
    lines = lost = 0
    with os.fdopen(os.dup(reader), "r", encoding="utf-8") as file:
        while lines + lost < total:
            line = file.readline()
            if line.startswith("{"):
                lost += json.loads(line)["lost"]
            else:
                assert line == _LINE
                lines += 1
    return lines, lost


def test_a_log_that_nobody_reads_holds_nobody(pipe: tuple[int, int]) -> None:
    """Writing never waits; what did not fit is told, and all lines are either there or told."""
    reader, writer = pipe
    log = QueuedWriter(writer, _told, max_waiting=64_000)

    for _ in range(1_000):
        log.write(_LINE)  # the pipe takes 64 KB: this thread would stand still in a plain write
    log.close(0.1)
    lines, lost = _read_until_told(reader, 1_000)

    assert lost > 500
    assert lines + lost == 1_000
    log.close(30)


def test_a_reader_that_has_died_is_no_error_and_is_told_to_the_next(pipe: tuple[int, int]) -> None:
    """Lines for a dead reader are lost, and told once there is another one."""
    reader, writer = pipe
    dead_reader, dead = os.pipe()
    os.close(dead_reader)
    alive = os.dup(writer)
    os.dup2(dead, writer)
    os.close(dead)
    log = QueuedWriter(writer, _told)

    for _ in range(5):
        log.write(_LINE)
    log.close(30)
    os.dup2(alive, writer)
    os.close(alive)
    log.write(_LINE)
    lines, lost = _read_until_told(reader, 6)

    assert (lines, lost) == (1, 5)
    log.close(30)


def test_the_end_of_the_process_does_not_wait_for_a_reader(pipe: tuple[int, int]) -> None:
    """The last lines get a moment, and no more."""
    log = QueuedWriter(pipe[1], _told)
    for _ in range(200):
        log.write(_LINE)
    ended = threading.Thread(target=log.close, args=(0.05,))

    ended.start()
    ended.join(10)

    assert not ended.is_alive()
    _read_until_told(pipe[0], 200)
    log.close(30)


def test_lines_that_are_many_do_not_wait_for_each_other() -> None:
    """Only few lines wait for others that leave with them: sixty thousand are no matter of minutes."""
    with Path(os.devnull).open("wb") as nowhere:
        log = QueuedWriter(nowhere.fileno(), _told, max_waiting=64 * 1024 * 1024)
        for _ in range(60_000):
            log.write("x" * 299 + "\n")
        begun = time.monotonic()
        log.close(60)

    assert time.monotonic() - begun < within(4)
    assert log.lost_ever == 0


def test_long_lines_of_several_processes_do_not_mix(pipe: tuple[int, int]) -> None:
    """Processes that write lines of 30 KB, as a bug's traceback is, to one pipe that takes 4 KB and is read slowly:
    every line comes in one piece, and a process that is killed in the middle of a line holds nobody up."""
    reader, end = pipe
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
    program = (
        "import sys; from integration_api.log import QueuedWriter\n"
        "log = QueuedWriter(1, lambda lost: f'lost {lost}\\n')\n"
        "for _ in range(20): log.write(sys.argv[1] * 29_999 + '\\n')\n"
        "log.close(60)"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, name], stdout=end, cwd=ROOT) for name in "abk"]
    counted = dict.fromkeys("ab", 0)
    with os.fdopen(os.dup(reader), "r", encoding="utf-8", buffering=1024) as file:
        while sum(counted.values()) < 40:
            line = file.readline().lstrip("k")  # a line that its process did not end is in front of the next one
            if line == "\n":
                processes[2].kill()  # in the middle of its next line
                processes[2].wait()
            else:
                counted[line[0]] += 1
                assert line == line[0] * 29_999 + "\n"
    assert counted == {"a": 20, "b": 20}
    for process in processes:
        process.wait(within(30))


@pytest.mark.parametrize("form", ["json", "console"])
def test_frequent_lines_leave_as_others_do(form: str) -> None:
    """Whatever their values are, with what is bound for all lines."""
    program = (
        "import sys, msgspec, structlog; from integration_api import log\n"
        "writer = log.configure('info', sys.argv[1])\n"
        "class Fields(msgspec.Struct, omit_defaults=True):\n    name: str\n    took: float | None = None\n"
        "structlog.contextvars.bind_contextvars(worker=1)\n"
        "for name in ('plain', 'a \\x01 \"mark\"', '\\u00fc', '\\ud800'):\n"
        "    log.frequent_lines().write('info', 'happened', Fields(name, 0.5))\n"
        "    structlog.get_logger().info('happened', name=name, took=0.5)\n"
        "writer.close(30)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, form], check=True, capture_output=True, cwd=ROOT, timeout=within(30)
    )
    lines = ended.stderr.splitlines()
    assert len(lines) == 8
    if form == "json":
        said = [{**json.loads(line), "timestamp": ""} for line in lines]
        assert [line["name"] for line in said[::2]] == ["plain", 'a \x01 "mark"', "\u00fc", "\ud800"]
        assert said[::2] == said[1::2]
    else:
        assert [line.split(b"Z", 1)[1] for line in lines[::2]] == [line.split(b"Z", 1)[1] for line in lines[1::2]]


def test_what_libraries_log_leaves_as_our_lines_do() -> None:
    """One format, no secret, nothing is lost at the end of the process, and what cannot be rendered is a line, too."""
    program = """
import logging, structlog
from integration_api import log
class Bad:
    def __repr__(self): raise RuntimeError
    __str__ = __repr__
log.configure("info", "json")
try:
    raise ValueError("with Bearer sk-canary-0123456789abcdef")
except ValueError:
    logging.getLogger("grpc").exception("a bug with key=sk-canary-0123456789abcdef and %s", 1)
logging.getLogger("grpc").error("too few arguments: %s %s", 1)
structlog.get_logger().info("odd", value=Bad())
structlog.get_logger().info("half a pair", value="\\ud800")
"""
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    lines = [json.loads(line) for line in ended.stderr.splitlines()]

    assert [line["event"] for line in lines] == ["library", "library", "log.not_rendered", "half a pair"]
    assert lines[0]["logger"] == "grpc"
    assert "ValueError" in lines[0]["exception"]
    assert "canary" not in ended.stderr


def test_a_file_that_was_taken_away_is_told_again_and_again(tmp_path: Path) -> None:
    """Its content stays in force; that is said as long as it lasts, and no longer."""
    file = tmp_path / "tokens"
    file.write_text("good", "ascii")
    reloaded = Reloaded("auth_tokens_file", lambda: (file,), lambda found: readable(found[file]), remind_seconds=0)
    reloaded.load()
    file.unlink()

    with capture_logs() as logs:
        reloaded.poll()
        reloaded.poll()
        file.write_text("new", "ascii")
        reloaded.poll()
        reloaded.poll()

    assert [entry["event"] for entry in logs] == ["files.unreadable", "files.unreadable", "files.reloaded"]
    assert "stays in force" in logs[1]["advice"]
    assert reloaded.value == b"new"


def test_a_folder_that_was_taken_away_is_told_once(tmp_path: Path) -> None:
    """Not with every poll; once it is there again, what is in it is read."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    reloaded = Reloaded("credentials_dir", lambda: [*folder.iterdir()], len)
    reloaded.load()
    folder.rmdir()

    with capture_logs() as logs:
        for _ in range(3):
            reloaded.poll()
        folder.mkdir()
        (folder / "one").write_text("new", "ascii")
        reloaded.poll()

    assert [entry["event"] for entry in logs] == ["files.unreadable", "files.reloaded"]
    assert reloaded.value == 1


def test_a_bug_in_a_parser_does_not_end_the_watch(tmp_path: Path) -> None:
    """The other files are looked at as before, and the next good content is taken."""
    file, seen = tmp_path / "file", threading.Event()
    file.write_text("good", "ascii")

    def parse(found: Found) -> bytes:
        content = readable(found[file])
        if content == b"bug":
            raise RuntimeError
        if content == b"better":
            seen.set()
        return content

    files = FileWatcher(interval=0.01)
    reloaded = files.add(Reloaded("broken", lambda: (file,), parse))
    files.load()
    files.start()
    try:
        with capture_logs() as logs:
            file.write_text("bug", "ascii")
            while not any(entry["event"] == "files.bug" for entry in logs):
                seen.wait(0.01)
            assert reloaded.value == b"good"
            file.write_text("better", "ascii")
            assert seen.wait(20)
    finally:
        files.stop()
    assert reloaded.value == b"better"
