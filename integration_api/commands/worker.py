"""A worker of `serve --workers`, as a program: `python -m integration_api.commands.worker DESCRIPTOR`.

Started by the supervisor only, with a socket to it; nobody types it.
"""

import sys

from integration_api.commands.loop import run
from integration_api.workers.worker import work

if __name__ == "__main__":
    sys.exit(run(work(int(sys.argv[1]))))
