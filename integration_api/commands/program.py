"""How this program is called from where its user is, for texts that say what to type."""

import os
import shutil
import sys
from pathlib import Path

_NAME = "integration-api"


def program() -> str:
    """Its name where the shell finds it, else its path."""
    if shutil.which(_NAME):
        return _NAME
    own = Path(sys.argv[0])
    if own.name == _NAME and own.exists():
        return os.path.relpath(own)
    return f"{os.path.relpath(sys.executable)} -m integration_api"
