"""The dashboard and the alerts against a real Prometheus that scrapes a real load.

It starts the sandbox, the service with its admin port, and Prometheus with our own configuration; makes a mixed load
for a minute; lets promtool check configuration and rules; asks every query of the dashboard. A query without data
fails, as does an alert whose expression cannot be evaluated. With `--picture` it draws the panels of these answers,
with matplotlib and not by Grafana.

Needs the programs prometheus and promtool (Debian: the package prometheus), and is skipped without them.

    python -m acceptance.observe [--seconds 60] [--picture docs/dashboard.png]
"""

import argparse
import asyncio
import json
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc

from bench.processes import ROOT, chat_request, free_port, started
from integration_api.v1 import messages_pb2 as msg
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub

DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
RULES = ROOT / "deploy/prometheus"
# The range that Grafana would choose for our scrape interval, and the step of its lines.
RANGE, STEP = "15s", "2s"
# What calls ask the sandbox for, and how they end: good ones in the mix of a day, the others each in its way.
SCRIPTS = (
    *("tokens:n=20,gap=20ms", "echo", "usage:input=200,cached=64,output=40,reasoning=16", "tokens:n=40,gap=5ms") * 4,
    "http-error:status=401",
    "http-error:status=429",
    "http-error:status=503",
    "flaky:fails=1,status=503",
    "error-in-stream:after=2,status=529",
    "cut:after=3",
)


@dataclass(frozen=True)
class Panel:
    """A panel of the dashboard: its title and unit, and its queries, each with the pattern of its lines' names."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


Line = tuple[dict[str, str], list[tuple[float, float]]]


def panels() -> list[Panel]:
    """Those of the dashboard, with its variable put in."""
    board = json.loads(DASHBOARD.read_text("utf-8"))
    return [
        Panel(
            panel["title"],
            panel["fieldConfig"]["defaults"]["unit"],
            tuple(
                (target["expr"].replace("$__rate_interval", RANGE), target["legendFormat"])
                for target in panel["targets"]
            ),
        )
        for panel in board["panels"]
    ]


async def load(port: int, sandbox: int, until: float, number: int) -> None:
    """Calls, one after the other, until it is time: whole and streamed, some given up, some with a fallback."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = ChatServiceStub(channel)
        turn = number
        while time.monotonic() < until:
            script = SCRIPTS[turn % len(SCRIPTS)]
            turn += 1
            request = chat_request(sandbox, script)
            if turn % 9 == 0:
                spare = chat_request(sandbox, "echo")
                request = chat_request(sandbox, "http-error:status=500")
                request.fallbacks.append(msg.Target(provider_id="custom-llm", credential=spare.credential))
                request.fallbacks[0].model_parameters.CopyFrom(spare.model_parameters)
            try:
                async with asyncio.timeout(0.1 if turn % 11 == 0 else 10):
                    if turn % 3 == 0:
                        await stub.Chat(request)
                    else:
                        async for _ in stub.StreamChat(request):
                            pass
            except (grpc.aio.AioRpcError, TimeoutError):
                pass
            await asyncio.sleep(0.05)


async def program(*arguments: str) -> None:
    """Run a program; what it prints is printed.

    Raises:
        SystemExit: it failed.
    """
    process = await asyncio.create_subprocess_exec(*arguments, cwd=RULES)
    if await process.wait():
        raise SystemExit(f"{' '.join(arguments)} failed")


def configuration(folder: Path, admin: int) -> Path:
    """Our own configuration with the service's port of now, asked once a second."""
    text = (RULES / "prometheus.yml").read_text("utf-8")
    text = text.replace("service:9090", f"127.0.0.1:{admin}").replace("scrape_interval: 5s", "scrape_interval: 1s")
    shutil.copy(RULES / "alerts.yml", folder)
    file = folder / "prometheus.yml"
    file.write_text(text, "utf-8")
    return file


class Prometheus:
    """A Prometheus process, asked over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{port}/api/v1"

    async def ready(self) -> None:
        """Wait until it answers."""
        async with asyncio.timeout(30):
            while True:
                try:
                    await self._get("/status/buildinfo", {})
                except aiohttp.ClientError:
                    await asyncio.sleep(0.2)
                else:
                    return

    async def lines(self, query: str, begin: float, end: float) -> list[Line]:
        """What a query gives over time; what is no number is left out."""
        data = await self._get("/query_range", {"query": query, "start": str(begin), "end": str(end), "step": STEP})
        return [
            (
                found["metric"],
                [(float(at), float(value)) for at, value in found["values"] if value not in ("NaN", "+Inf")],
            )
            for found in data["result"]
        ]

    async def rules(self) -> list[dict[str, Any]]:
        """Our alerts, as they are evaluated."""
        groups = (await self._get("/rules", {}))["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        async with self._session.get(self._url + path, params=query) as answer:
            body: dict[str, Any] = await answer.json()
        if body["status"] != "success":
            raise SystemExit(f"{path} {query}: {body}")
        data: dict[str, Any] = body["data"]
        return data


async def judged(prometheus: Prometheus, begin: float) -> tuple[dict[str, list[tuple[str, Line]]], list[str]]:
    """The lines of every panel, each with its name, and what is wrong."""
    drawn: dict[str, list[tuple[str, Line]]] = {}
    faults = []
    for panel in panels():
        drawn[panel.title] = []
        for query, name in panel.queries:
            lines = [line for line in await prometheus.lines(query, begin, time.time()) if line[1]]
            if not lines:
                faults.append(f"no data: {panel.title}: {query}")
            drawn[panel.title] += [(_named(name, line[0]), line) for line in lines]
    rules = await prometheus.rules()
    faults += [f"{rule['name']}: {rule.get('lastError', '')}" for rule in rules if rule["health"] != "ok"]
    return drawn, faults


def _named(pattern: str, labels: dict[str, str]) -> str:
    for label, value in labels.items():
        pattern = pattern.replace("{{" + label + "}}", value)
    return re.sub(r"{{\w+}}", "(none)", pattern)  # Prometheus has no empty labels


def draw(drawn: dict[str, list[tuple[str, Line]]], file: Path) -> None:
    """The panels as a picture. Not Grafana's."""
    import matplotlib as mpl  # noqa: PLC0415 -- only where a picture is asked for

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 -- the backend is chosen first

    units = {panel.title: panel.unit for panel in panels()}
    rows = -(-len(drawn) // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(18, 3.4 * rows))
    for axis, (title, lines) in zip(axes.flat, drawn.items(), strict=False):
        for name, (_, points) in sorted(lines, key=lambda line: line[0]):
            start = points[0][0] if not lines else min(line[1][0][0] for _, line in lines)
            factor = 1000 if units[title] == "s" else 100 if units[title] == "percentunit" else 1
            axis.plot([at - start for at, _ in points], [value * factor for _, value in points], label=name[:40])
        axis.set_title(title + {"s": " (ms)", "percentunit": " (%)"}.get(units[title], ""), fontsize=10)
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=8)
        axis.legend(fontsize=6, loc="upper left", ncols=2)
    for axis in list(axes.flat)[len(drawn) :]:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(file, dpi=64)


async def main() -> int:
    """The exit code: 0 where every query has data and every rule is evaluated, or where it cannot be judged here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    for name in ("prometheus", "promtool"):
        if shutil.which(name) is None:
            print(f"SKIP {name}: not on this machine (Debian: apt-get install prometheus)", flush=True)
            return 0
    await program("promtool", "check", "config", "prometheus.yml")
    await program("promtool", "test", "rules", "alerts_test.yml")
    with tempfile.TemporaryDirectory(prefix="observe-") as name:
        drawn, faults = await _measured(Path(name), asked.seconds)
    for title, lines in drawn.items():
        print(f"{len(lines):3} lines  {title}")
    if asked.picture:
        await asyncio.to_thread(draw, drawn, asked.picture)
    print("\n".join(faults) or "every query has data, every rule is evaluated")
    return 1 if faults else 0


async def _measured(folder: Path, seconds: float) -> tuple[dict[str, list[tuple[str, Line]]], list[str]]:
    admin, port = free_port(), free_port()
    serve = ("serve", "--port", "0", "--log-format", "json", "--admin-port", str(admin), "--breaker-failures", "3")
    async with (
        started(folder / "sandbox.log", "integration_api", "sandbox", "--port", "0") as sandbox,
        started(folder / "serve.log", "integration_api", *serve) as server,
        aiohttp.ClientSession() as session,
    ):
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={configuration(folder, admin)}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        )
        try:
            prometheus = Prometheus(session, port)
            await prometheus.ready()
            begin, until = time.time(), time.monotonic() + seconds
            await asyncio.gather(*(load(server.port, sandbox.port, until, number * 5) for number in range(8)))
            await asyncio.sleep(2)  # the last scrape
            return await judged(prometheus, begin)
        finally:
            process.terminate()
            await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
