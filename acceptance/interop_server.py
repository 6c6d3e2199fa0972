"""A sandbox and a server of ours for `acceptance/interop.py`: prints where they are, ends with its standard input."""

import asyncio
import json
import sys

from integration_api.log import configure
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings


async def main() -> None:
    """The first argument is the secret of the platform's JWTs."""
    configure("warning", "console")
    async with Sandbox() as sandbox, Server(Settings(port=0, rapida_jwt_secret=sys.argv[1])) as server:
        sys.stdout.write(json.dumps({"address": f"127.0.0.1:{server.port}", "endpoint": sandbox.url}) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
