"""Flame graphs of the service at the four works of `floor.py`: where its time goes.

    python -m bench.flames [--folder .cache/flames] [--seconds 5]

py-spy samples the service, which it starts as its child, so it needs no rights. The graphs are SVG files to look at in
a browser.
"""

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path

import uvloop

from bench.floor import CASES, cases
from bench.work import program

_RATE = 500


async def main(folder: Path, seconds: float) -> None:
    """One graph for each work."""
    with program("endpoint.py") as endpoint:
        for name in CASES:
            file = folder / f"{name}.svg"
            sampler = (
                str(Path(sys.executable).with_name("py-spy")),
                "record",
                "--rate",
                str(_RATE),
                "--output",
                str(file),
                "--",
            )
            with program("ours.py", wrapped=sampler) as ours:
                channels = ours.channels(4)
                work = cases(endpoint.port, 1, 100, 40)[name].ours
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    await work(channels)
                for channel in channels:
                    await channel.close()
                ours.process.send_signal(signal.SIGINT)  # it writes what it has
                await asyncio.to_thread(ours.process.wait)
            print(f"{name}: {file}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(".cache/flames"))
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    uvloop.run(main(arguments.folder, arguments.seconds))
