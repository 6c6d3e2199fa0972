"""What to do when no service answers, from the words in which gRPC's core says why.

Rule: text in, text out. The words are gRPC's and BoringSSL's (grpcio 1.78 to 1.85); where none is known, it says what
holds for all.
"""

import re

_WORDS = (
    (r"connection refused", "nothing listens at --address: start it (integration-api serve), or name another address"),
    (
        r"errors? resolving|lookup failed|parse port|domain name",
        "--address is HOST:PORT, and this machine has to find the host's name",
    ),
    (
        r"http1\.x server",
        "what answers at --address speaks HTTP/1, not gRPC: it is no integration-api, or a proxy before it",
    ),
    (r"WRONG_VERSION_NUMBER", "there is no TLS at --address: leave the --tls options out"),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "its certificate has expired, or is of an authority that is not trusted here: --tls-ca-file FILE",
    ),
    (
        r"hostname verification|peer name",
        "its certificate is for other names than this address: say one of them with --tls-server-name",
    ),
    (r"security handshaker", "a file of the --tls options does not hold what it should: certificates or a key in PEM"),
    (
        r"CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNKNOWN_CA|alert",
        "it does not accept your certificate: --tls-cert-file and --tls-key-file name the one for this service",
    ),
    (
        r"socket closed|connection reset|broken pipe|EOF",
        "it hung up at once: it may want TLS (--tls, --tls-ca-file FILE), or a certificate of yours (--tls-cert-file)",
    ),
    (r"timed? ?out|deadline", "it cannot be reached from here: look at --address, and at firewalls on the way"),
)
_CAUSES = tuple((re.compile(words, re.IGNORECASE), remedy) for words, remedy in _WORDS)
_OTHERWISE = "no service answers at --address: is it running? (integration-api serve)"


def remedy_when_unreachable(text: str) -> str:
    """What to do about an UNAVAILABLE that no service made; `text` is the status's."""
    return next((remedy for words, remedy in _CAUSES if words.search(text)), _OTHERWISE)
