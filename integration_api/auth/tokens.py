"""Bearer tokens by their hashes. Pure: text in, a table out; which file it came from is the watcher's business.

A line is a name and the SHA-256 of the token in hex:

    # comment
    billing sha256:6f1d…

`sha256:` may be left out, and a colon may stand instead of the space. Several lines may have one name: a token is
changed by adding the new one, moving the clients, and removing the old one. SHA-256 without a salt is enough because
tokens are random; a token that a person made up is not. `integration-api token new NAME` makes one, and its line.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping

MAX_TOKENS = 10_000
NAME = re.compile(r"[^\s:]{1,256}")
_LINE = re.compile(rf"(?P<name>{NAME.pattern})(?:\s+|\s*:\s*)(?:sha256:)?(?P<digest>[0-9a-fA-F]{{64}})")


class Tokens:
    """Finds the name of a token. Its repr shows neither names nor hashes."""

    __slots__ = ("_key", "_names")

    def __init__(self, digests: Mapping[bytes, str]) -> None:
        """`digests`: SHA-256 of each token, with the name it stands for."""
        # Looked up by a keyed hash: how long that takes depends on a secret of this process, not on how much of a
        # guess is right, and stays the same for any number of tokens.
        self._key = secrets.token_bytes(32)
        self._names = {self._blinded(digest): name for digest, name in digests.items()}

    def __call__(self, token: str) -> str | None:
        """The name that the token stands for; None for an unknown token."""
        return self._names.get(self._blinded(hashlib.sha256(token.encode("utf-8", "replace")).digest()))

    def __len__(self) -> int:
        return len(self._names)

    def _blinded(self, digest: bytes) -> bytes:
        return hmac.digest(self._key, digest, "sha256")


def parse_tokens(raw: bytes) -> Tokens:
    """Read a token file.

    Raises:
        ValueError: a line is none, the file holds no or too many tokens. Lines are named by number: a mispasted one
            can hold a secret.
    """
    digests: dict[bytes, str] = {}
    for number, line in enumerate(_text(raw).splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        found = _LINE.fullmatch(entry)
        if found is None:
            raise ValueError(
                f"line {number} does not have the form NAME sha256:HASH, with the 64 hex digits of a token's SHA-256; "
                "`integration-api token new NAME` makes a token and its line"
            )
        digest = bytes.fromhex(found["digest"])
        if digests.setdefault(digest, found["name"]) != found["name"]:
            raise ValueError(f"line {number} has the hash of an earlier line under another name")
    if not digests:
        raise ValueError("holds no token")
    if len(digests) > MAX_TOKENS:
        raise ValueError(f"holds more than {MAX_TOKENS} tokens")
    return Tokens(digests)


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
