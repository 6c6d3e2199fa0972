"""The subcommands of `integration-api`, one module each with its click command under the name `command`.

Exit codes: 0 good, 1 it failed, 2 it was asked wrongly (usage or settings).
"""

import os

# The core of gRPC writes lines to standard error by itself: in a format of its own, at any stranger's broken handshake,
# and waiting where nobody reads. It looks here when it is loaded, so before any command is. What is set already stays.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
