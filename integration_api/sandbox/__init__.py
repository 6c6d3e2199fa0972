"""An embedded chat endpoint with scripted answers: the other side, for development and tests.

It speaks OpenAI's Chat Completions and Responses, Anthropic's Messages and Gemini's generateContent on one port. The
model's name is the script (see `help_text`). Rule: the standard library and aiohttp only; it knows nothing of the
service that calls it.
"""

from integration_api.sandbox.faults import FAULTS
from integration_api.sandbox.record import Recorded
from integration_api.sandbox.script import SCRIPTS, help_text
from integration_api.sandbox.serve import run
from integration_api.sandbox.server import Sandbox

__all__ = ["FAULTS", "SCRIPTS", "Recorded", "Sandbox", "help_text", "run"]
