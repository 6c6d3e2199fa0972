"""A worker of `serve --workers`, as a program: `python -m integration_api.commands.worker DESCRIPTOR`.

Started by the supervisor only, with a socket to it; nobody types it. A terminal's SIGINT is the supervisor's business,
also while this process waits for what to serve.
"""

import signal
import sys

from integration_api.commands.loop import run
from integration_api.workers.worker import work

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(run(work(int(sys.argv[1]))))
