"""The service beside its peers: what each gateway adds to the same endpoint, and what it costs. Needs `make peers`.

    python -m bench.peers                      seven rounds, some twenty minutes
    python -m bench.peers --quick              one short round
    python -m bench.peers --only integration-api,Portkey --json FILE
    python -m bench.peers --table FILE         the tables of an earlier run

One raw endpoint answers at once, or streams at a pace; one compiled client calls it directly, and through each gateway.
Every work is done by each in turn before the next one begins, round by round, so that what else the machine does
disturbs all alike; what a gateway adds is its time less that of the direct calls of the same round. Our service is
called over gRPC, the others over HTTP/1.1: each as its clients do. A gateway has a core for itself, client and endpoint
have the others; CPU is the processes' own time from /proc, which says who was the limit.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.peers.gateways import GATEWAYS, Gateway
from bench.peers.running import Running, Work, build_load, load, machine_busy, pin_to, prefer, running
from bench.peers.table import summary, table
from bench.work import Program, program, write

WORKS = (
    Work("calls-1", "unary", callers=1, seconds=3),
    Work("calls-16", "unary", callers=16, seconds=3),
    Work("calls-64", "unary", callers=64, seconds=3),
    Work("paced-64", "paced-100-50", callers=64, seconds=6, stream=True, spread=2),
    Work("paced-512", "paced-1000-50", callers=512, seconds=8, stream=True, spread=3),
    Work("burst-8", "burst-400", callers=8, seconds=3, stream=True),
)


def _measured(gateway: Running, endpoint: Program, work: Work) -> dict[str, Any]:
    before, busy, begun = (gateway.cpu, endpoint.cpu), machine_busy(), time.monotonic()
    told = load(gateway, work)
    wall = time.monotonic() - begun
    used = {"gateway": gateway.cpu - before[0], "endpoint": endpoint.cpu - before[1], "client": told.pop("cpu")}
    others = machine_busy() - busy - sum(used.values())
    cores = {who: round(seconds / wall, 3) for who, seconds in {**used, "others": max(0.0, others)}.items()}
    return {**told, "cpu": round(used["gateway"], 3), "cores": cores}


def _round(all_of_them: list[Running], endpoint: Program, works: list[Work]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {each.gateway.name: {} for each in all_of_them}
    for work in works:
        for gateway in all_of_them:
            one = _measured(gateway, endpoint, work)
            gateway.settle()
            found[gateway.gateway.name][work.name] = one
            latency = one["latency"] or one["first"] or {"p50": float("nan"), "p99": float("nan")}
            print(
                f"  {work.name:10} {gateway.gateway.name:16} {one['calls']:6} calls {one['failed']:3} failed"
                f" {one['tokens_per_second']:8.0f} tokens/s  p50 {latency['p50']:.2f} p99 {latency['p99']:.2f} ms"
                f"  cores {one['cores']} {one['fault'][:200]}",
                flush=True,
            )
    return found


def _chosen(only: str) -> list[Gateway]:
    names = {each.name for each in GATEWAYS}
    unknown = set(filter(None, only.split(","))) - names
    if unknown:
        sys.exit(f"no such gateways: {', '.join(sorted(unknown))}; there are {', '.join(sorted(names))}")
    wanted = [each for each in GATEWAYS if not only or each.name in {"direct", *only.split(",")}]
    missing = [each.name for each in wanted if not each.installed]
    if missing:
        print(f"SKIP {', '.join(missing)}: not installed (make peers)", flush=True)
    return [each for each in wanted if each.installed]


def main(only: str, rounds: int, scale: float, file: str, *, preferred: bool) -> None:
    """All rounds, the table, the file."""
    build_load()
    pin_to(gateways=False)
    if preferred:
        prefer()
    works = [replace(each, seconds=each.seconds * scale, spread=each.spread * scale) for each in WORKS]
    with ExitStack() as stack:
        endpoint = stack.enter_context(program("endpoint.py"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        gateways = []
        for known in _chosen(only):
            begun = time.monotonic()
            gateways.append(stack.enter_context(running(known, endpoint.port, folder / known.name)))
            print(f"{known.name} {known.version()}: answers after {time.monotonic() - begun:.1f} s", flush=True)
        at_rest = {each.gateway.name: each.resident for each in gateways}
        for each in gateways:  # what is compiled or cached by the first calls
            load(each, Work("warm", "unary", callers=16, seconds=2 * scale))
        found = []
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
            found.append({"load": os.getloadavg()[0], "gateways": _round(gateways, endpoint, works)})
        kept = {
            each.gateway.name: {
                "version": each.gateway.version(),
                "language": each.gateway.language,
                "resident": {"at_rest": at_rest[each.gateway.name], "at_end": each.resident},
            }
            for each in gateways
        }
    date = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    result: dict[str, Any] = {"date": date, "cores": os.cpu_count(), "preferred": preferred}
    result = {**result, "gateways": kept, "rounds": found}
    result = {**result, "summary": summary(result)}
    print(f"\n{table(result)}")
    write(file, result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="comma-separated gateways; all that are installed without it")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="one round, a third as long")
    parser.add_argument("--json", default="", help="a file for the result")
    parser.add_argument("--preferred", action="store_true", help="go before what else the machine does; needs root")
    parser.add_argument("--table", default="", help="a result, whose tables are printed; nothing is measured")
    given = parser.parse_args()
    if given.table:
        print(table(json.loads(Path(given.table).read_text("utf-8"))))
        sys.exit()
    rounds, scale = (1, 0.34) if given.quick else (given.rounds, 1.0)
    main(given.only, rounds, scale, given.json, preferred=given.preferred)
