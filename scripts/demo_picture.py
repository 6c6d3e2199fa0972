"""Draws docs/demo.svg: what a real `integration-api demo` printed at a terminal of 100 columns.

Rule: no word is written here. The program runs in a pseudo-terminal; what it printed is put on a screen as a terminal
does, as far as it needs: new lines, carriage returns, erased ends of lines, bold and dim text.

    python -m scripts.demo_picture        run the demo and write the picture
"""

import os
import pty
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

PICTURE = Path(__file__).parent.parent / "docs" / "demo.svg"
_COLUMNS = 100
_PROMPT = "$ make demo"
# What comes behind the calls, for the person at the terminal.
_EPILOGUE = "\nNext, "
_TOKEN = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n])")
_BOLD, _DIM = "1", "2"

_LINE, _CHARACTER, _MARGIN = 20, 8.43, 18
_SIZE = 14
_GROUND = "#15191e"
_INK = {"": "#d7dde4", _BOLD: "#ffffff", _DIM: "#8b97a5"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A character on the screen, and its style: empty, bold or dim."""

    character: str
    style: str


def screen(printed: str, columns: int = _COLUMNS) -> list[list[Cell]]:
    """The lines that a terminal of so many columns shows once all of it is printed."""
    lines: list[list[Cell]] = [[]]
    at, style = 0, ""
    for parameters, command, back, new, character in _TOKEN.findall(printed):
        if command == "m":
            style = parameters if parameters in _INK else ""
        elif command == "K":
            del lines[-1][at:]
        elif back:
            at = 0
        elif new:
            lines.append([])
            at = 0
        elif character:
            if at == columns:
                lines.append([])
                at = 0
            lines[-1][at : at + 1] = [Cell(character, style)]
            at += 1
    return lines


def svg(lines: Sequence[Sequence[Cell]]) -> str:
    """The screen as a picture."""
    width, height = round(_COLUMNS * _CHARACTER) + 2 * _MARGIN, len(lines) * _LINE + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f'<rect width="{width}" height="{height}" rx="8" fill="{_GROUND}"/>',
        f'<g font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="{_SIZE}">',
    ]
    for number, line in enumerate(lines):
        x = float(_MARGIN)
        for style, run in groupby(line, key=lambda cell: cell.style):
            text = "".join(cell.character for cell in run)
            weight = ' font-weight="bold"' if style == _BOLD else ""
            # Its length is said, so that every font has the columns of a terminal.
            length = f'textLength="{len(text) * _CHARACTER:.1f}" lengthAdjust="spacingAndGlyphs"'
            place = f'x="{x:.1f}" y="{_MARGIN + number * _LINE + _SIZE}"'
            if text.strip():
                parts.append(
                    f'<text {place} {length} fill="{_INK[style]}"{weight} xml:space="preserve">{escape(text)}</text>'
                )
            x += len(text) * _CHARACTER
    return "\n".join([*parts, "</g>", "</svg>", ""])


def record() -> str:
    """What the demo prints at a terminal.

    Raises:
        RuntimeError: it failed.
    """
    printed: list[bytes] = []

    def read(descriptor: int) -> bytes:
        printed.append(os.read(descriptor, 65536))
        return printed[-1]

    os.environ["TERM"] = "xterm-256color"
    if code := pty.spawn([sys.executable, "-m", "integration_api", "demo"], read):
        raise RuntimeError(f"the demo ended with {code}")
    return b"".join(printed).decode().replace("\r\n", "\n")


def main() -> None:
    """Draws the picture."""
    calls = record().partition(_EPILOGUE)[0].rstrip()
    PICTURE.write_text(svg(screen(f"{_PROMPT}\n{calls}")), encoding="utf-8")


if __name__ == "__main__":
    main()
