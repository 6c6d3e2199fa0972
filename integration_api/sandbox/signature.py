"""Opaque state that must come back byte for byte: a payload and its checksum in base64.

Rule: any altered, cut or invented signature is noticed. It is no secret and no cryptography.
"""

import base64
import binascii
import hashlib

_SUM = 16


def sign(payload: str) -> str:
    """Opaque text for a payload."""
    raw = payload.encode("utf-8", "surrogatepass")
    return base64.b64encode(hashlib.sha256(b"sandbox" + raw).digest()[:_SUM] + raw).decode()


def is_signed(text: str) -> bool:
    """Whether the sandbox made this text and nobody changed it."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    # Base64 has spare bits at its end: the text must be the one that encoding gives.
    same = base64.b64encode(raw).decode() == text
    return same and hashlib.sha256(b"sandbox" + raw[_SUM:]).digest()[:_SUM] == raw[:_SUM]
