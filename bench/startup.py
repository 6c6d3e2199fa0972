"""How long until the first answer, and how much memory at rest: the service as it is installed, started many times.

    python -m bench.startup [--rounds 10] [--json FILE]

From the start of the process, `python -m integration_api serve`, to the answer of a first Chat. At rest is five seconds
after that.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time

import grpc

from bench.work import HERE, UNARY, Program, program, request, write

MOST_SECONDS = 1.5
MOST_BYTES = 95 * 1024 * 1024
_REST = 5.0
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


async def once(endpoint: int) -> tuple[float, float, int]:
    """One start: seconds to the first answer, and of CPU until then, and bytes at rest."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "integration_api", "serve", "--port", str(port), "--log-level", "warning"]
    asked = request(endpoint, "unary")
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=HERE.parent, text=True, env=_ENVIRONMENT)  # noqa: ASYNC220, S603 -- it is what is measured
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            await asyncio.sleep(0.005)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await channel.unary_unary(UNARY)(asked)
            took = time.perf_counter() - started
            service = Program(process, port)
            cpu = service.cpu
            await asyncio.sleep(_REST)
            return took, cpu, service.resident
    finally:
        process.kill()
        process.wait()


async def main(rounds: int, file: str) -> int:
    """Starts it `rounds` times; 1 where a bound is passed in the median."""
    with program("endpoint.py") as endpoint:
        await once(endpoint.port)  # which compiles, as an installation does
        found = [await once(endpoint.port) for _ in range(rounds)]
    seconds, cpu, resident = ([each[at] for each in found] for at in range(3))
    took, rest = statistics.median(seconds), statistics.median(resident)
    print(f"first answer after {took:.2f} s (min {min(seconds):.2f}, max {max(seconds):.2f}); at most {MOST_SECONDS}")
    print(f"  of which {statistics.median(cpu):.2f} s of CPU, which another load does not change")
    print(f"at rest {rest / 2**20:.1f} MiB (max {max(resident) / 2**20:.1f}); at most {MOST_BYTES / 2**20:.0f}")
    write(
        file,
        {
            "seconds": seconds,
            "cpu_seconds": cpu,
            "resident": resident,
            "aim": {"seconds": MOST_SECONDS, "resident": MOST_BYTES},
        },
    )
    return took > MOST_SECONDS or rest > MOST_BYTES


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", default="", help="a file for the result")
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.rounds, arguments.json)))
