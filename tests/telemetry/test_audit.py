"""The audit file: what several write to it, and how much of a call's content it takes."""

import json
import subprocess
import sys
from pathlib import Path

from caller.messages import AudioPart, UserMessage
from caller.target import Ask
from integration_api.telemetry.content import KeptContent

# Two that append to one file; the disk is full for the first in the middle of a line.
_PROGRAM = """
import resource, sys
from caller.call import CallReport
from integration_api.telemetry.audit import AuditFile

def write(audit, *names):
    for name in names:
        audit.ended(CallReport(started=0.0, request_id=name), None)
    audit.close()

first, second = AuditFile(sys.argv[1]), AuditFile(sys.argv[1])
first.open()
second.open()
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
write(first, *(f"first-{number}" for number in range(40)))
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
write(second, "second")
write(first, "third")
print(first.lost, second.lost)
"""


def test_a_line_that_the_disk_tore_is_taken_back(tmp_path: Path) -> None:
    """Nobody else's line stands behind half a line; every line is either there or counted as lost."""
    audit = tmp_path / "audit"
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(audit)], cwd=root, capture_output=True, text=True, check=True
    )
    lost, lost_by_second = map(int, ended.stdout.split())

    lines = [json.loads(line) for line in audit.read_text("utf-8").splitlines()]
    names = [line["request_id"] for line in lines if line["event"] == "call.finished"]
    assert names[-2:] == ["second", "third"]
    assert (len(names) + lost, lost_by_second) == (42, 0)
    assert [line["lost"] for line in lines if line["event"] == "audit.lost"] == [lost]


def test_every_word_of_a_client_counts_as_content() -> None:
    """Also the format of a sound."""
    kept = KeptContent(100)
    kept.asked(Ask((UserMessage((AudioPart(b"1234", "x" * 10_000),)),), ()))

    line = json.dumps(kept.fields())
    assert '"bytes": 4' in line
    assert len(line) < 300
