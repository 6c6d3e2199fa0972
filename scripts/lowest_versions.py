"""Prints a constraints file with the lower bound of every runtime dependency of a pyproject.toml.

Rule: the standard library only, since it runs before anything is installed.
"""

import re
import sys
import tomllib
from pathlib import Path

# name, extras (constraints have none), lower bound, what else bounds it, marker: "uvloop>=0.22; os_name == …".
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*>=\s*([0-9][0-9.]*)[^;]*(;.*)?")


def lowest(requirement: str) -> str:
    """The requirement pinned to its lower bound; ValueError when it has none."""
    found = _REQUIREMENT.fullmatch(requirement.strip())
    if found is None:
        raise ValueError(f"{requirement!r} has no lower bound of the form name>=version")
    name, version, marker = found.groups()
    return f"{name}=={version}{marker or ''}"


def main() -> None:
    """Reads the file named by the first argument."""
    project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
    sys.stdout.writelines(f"{lowest(requirement)}\n" for requirement in project["dependencies"])


if __name__ == "__main__":
    main()
