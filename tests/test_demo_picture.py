"""The picture of the demo is what a terminal showed, and shows the demo as it is."""

from xml.etree import ElementTree as ET

from integration_api.commands.demo import _CALLS
from scripts.demo_picture import PICTURE, Cell, screen, svg


def texts(picture: str) -> list[str]:
    return ["".join(part.itertext()) for part in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 -- our own file


def test_a_terminals_lines_are_drawn_as_it_shows_them() -> None:
    """A line that was erased is gone, styles end where they end, long lines go on in the next."""
    lines = screen("⠋ 0.0 s \r\x1b[K\x1b[2m\x1b[0mHi\n\x1b[1m\nA <bold>\x1b[0m!\n12345678901", columns=9)

    assert ["".join(cell.character for cell in line) for line in lines] == ["Hi", "", "A <bold>!", "123456789", "01"]
    assert lines[2][-2:] == [Cell(">", "1"), Cell("!", "")]
    assert texts(svg(lines)) == ["Hi", "A <bold>", "!", "123456789", "01"]


def test_the_picture_shows_every_call_of_the_demo() -> None:
    """It was drawn from the demo as it is: `python -m scripts.demo_picture` where it was not."""
    shown = texts(PICTURE.read_text("utf-8"))

    assert [title for title, *_ in _CALLS if title not in shown] == []
    assert [message for _, _, model, message in _CALLS if model.startswith("echo") and message not in shown] == []
