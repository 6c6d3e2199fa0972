"""The arguments of one tool call while they come: each piece of them is said once. No I/O.

What a server sent cannot be taken back once it has left, so what may be a repetition is held until it is clear:

* `{}`, `null`, `""`, PHP's `[]`, Python's `None` or white space ahead of fragments is a placeholder (Anthropic's block
  start, and what was made after it);
* a JSON string in which the object stands is that object (gateways that encode it twice);
* the whole text once more behind complete arguments, in one piece or in fragments, is the same text;
* a whole object several times in one piece is that object;
* a piece that begins with all that came before is a sum, where both behind one another would be no JSON.

Everything else is a fragment and leaves as it came: what a model wrote is never repaired.
"""

import msgspec

from caller.custom_llm.apis.parsing import parse

NONE = "{}"
_PLACEHOLDERS = frozenset({"{}", "null", '""', "[]", "None"})
_MAX_PLACEHOLDER = 8
# Checks that found nothing, after which pieces are taken as they come: a hostile answer must not be quadratic.
_MAX_CHECKS = 64
_MAX_TIMES = 4
_decode = msgspec.json.Decoder().decode
_TRUNCATED = "Input data was truncated"


class Arguments:
    """Gathers the arguments of one call. `pieces` is what has been said of them."""

    __slots__ = ("_checks", "_copy", "_held", "_placeholder", "_quoted", "pieces")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._placeholder = ""
        self._held = ""  # a sum, or a value that looks like one
        self._copy = ""  # what came of the whole text once more
        self._quoted: list[str] = []  # what begins as a JSON string
        self._checks = 0

    @property
    def begun(self) -> bool:
        """True once there is anything of them, a placeholder included."""
        return bool(self.pieces or self._placeholder or self._quoted)

    @property
    def complete(self) -> bool:
        """True if they are a JSON object in full."""
        if not self.pieces:
            return bool(self._placeholder)
        if not self.pieces[-1].rstrip().endswith("}") or self._checks > _MAX_CHECKS:
            return False
        found = is_object(self._emitted())
        self._checks += not found
        return found

    def same(self, text: str) -> bool:
        """Whether the text is all of them, perhaps written another way."""
        return self.complete and _equal(self._emitted() or NONE, text)

    def feed(self, piece: str) -> str:
        """What a piece adds to what was said."""
        pieces = self.pieces
        if self._held or self._copy or not pieces or piece[:1] == "{":
            return self._doubtful(piece)
        pieces.append(piece)
        return piece

    def close(self) -> str:
        """Nothing more comes: what was held, or `{}` for no arguments at all."""
        if self._quoted:
            quoted, self._quoted = "".join(self._quoted), []
            return self._add(_unquoted(quoted))
        if not self.pieces:
            return NONE
        held, self._held, self._copy = self._held, "", ""
        said = self._emitted()
        return self._add(held[len(said) :] if is_object(held) and not is_object(said + held) else held)

    def _doubtful(self, piece: str) -> str:
        if not self.pieces:
            return self._first(piece)
        if self._copy:
            return self._copied(self._copy + piece)
        held, self._held = self._held, ""
        if held:
            is_sum = piece.startswith(held) and not _may_be_json(self._emitted() + held + piece)
            return self._add(piece[len(self._emitted()) :] if is_sum else held + piece)
        if self._checks > _MAX_CHECKS:
            return self._add(piece)
        return self._repeated(piece)

    def _first(self, piece: str) -> str:
        if self._quoted:
            self._quoted.append(piece)
            return ""
        bare = piece.strip() if len(piece) <= _MAX_PLACEHOLDER else piece
        if not bare or bare in _PLACEHOLDERS:
            self._placeholder = NONE if bare else self._placeholder
            return ""
        if bare[0] == '"' and not self._placeholder:
            self._quoted.append(piece)
            return ""
        if "}{" in piece:
            piece = _once(piece)
        if self._placeholder and piece.lstrip()[:1] not in ("{", "["):
            piece = self._placeholder + piece
        return self._add(piece)

    def _repeated(self, piece: str) -> str:
        """A piece that begins an object, behind others."""
        said = self._emitted()
        if self.complete:
            return "" if _equal(said, piece) else self._copied(piece)
        if not piece.startswith(said):
            self._checks += 1
            return self._add(piece)
        if not _may_be_json(said + piece):
            return self._add(piece[len(said) :])
        self._held = piece
        return ""

    def _copied(self, copy: str) -> str:
        said = self._emitted()
        self._copy = copy
        if said.startswith(copy):
            if len(said) == len(copy):
                self._copy = ""
            return ""
        self._copy = ""
        self._checks = _MAX_CHECKS + 1
        return self._add(copy)

    def _add(self, text: str) -> str:
        if text:
            self.pieces.append(text)
        return text

    def _emitted(self) -> str:
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""


def whole(text: str) -> str:
    """Arguments that came in one piece."""
    arguments = Arguments()
    return arguments.feed(text) + arguments.close()


def _once(text: str) -> str:
    """An object that stands several times behind itself, once (bridges that gather deltas and their sum)."""
    for times in range(2, _MAX_TIMES + 1):
        once = text[: len(text) // times]
        if once * times == text and is_object(once):
            return once
    return text


def _unquoted(text: str) -> str:
    """The object that stands in a JSON string, or the text as it is."""
    try:
        value = _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return value if isinstance(value, str) and is_object(value) else text


def is_object(text: str) -> bool:
    """Whether the text is a JSON object in full."""
    try:
        return isinstance(_decode(text), dict)
    except (msgspec.DecodeError, RecursionError):
        return False


def _may_be_json(text: str) -> bool:
    """Whether the text is JSON, or becomes JSON if more comes."""
    try:
        _decode(text)
    except msgspec.DecodeError as error:
        return str(error) == _TRUNCATED
    except RecursionError:
        return False
    return True


def _equal(said: str, text: str) -> bool:
    if said == text:
        return True
    try:
        return parse(said.encode("utf-8", "replace")) == parse(text.encode("utf-8", "replace"))
    except ValueError:
        return False
