"""Names of clients that prove themselves by a TLS certificate. Pure, but for the type of gRPC's auth context.

Only DNS and URI names count (RFC 6125, SPIFFE): a common name is free text, and an IP address is no identity.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from caller.errors import CallerUnauthenticated

# grpcio 1.85.1 gives the kinds apart from each other, so that a URI cannot pass for a DNS name.
_URI, _DNS = "peer_uri", "peer_dns"


@dataclass(frozen=True, slots=True)
class PeerNames:
    """Which names of certificates are let in. A pattern is a URI, a DNS name, or `*.` and a domain, where the star
    stands for one label. No pattern: every name of the authority's certificates."""

    patterns: tuple[str, ...]

    @classmethod
    def parse(cls, setting: str) -> "PeerNames":
        """The patterns of the setting `auth_mtls_names`.

        Raises:
            ValueError: a star elsewhere than at the beginning.
        """
        patterns = tuple(_folded(entry.strip()) for entry in setting.split(",") if entry.strip())
        for pattern in patterns:
            domain = pattern.removeprefix("*.")
            if "*" in domain or not domain:
                raise ValueError("auth_mtls_names: a star can only stand for the first label, as in *.agents.example")
        return cls(patterns)

    def identity(self, context: Mapping[str, Iterable[bytes]]) -> str | None:
        """Whom the certificate names; None where there is none. URIs come before DNS names.

        Raises:
            CallerUnauthenticated: it names nobody who is let in.
        """
        if not context.get("x509_pem_cert"):
            return None
        uris = [raw.decode("utf-8", "replace") for raw in context.get(_URI, ())]
        hosts = [raw.decode("utf-8", "replace").lower() for raw in context.get(_DNS, ())]
        for names, matches in ((uris, _is_uri), (hosts, _is_host)):
            for name in names:
                if not self.patterns or any(matches(name, pattern) for pattern in self.patterns):
                    return name
        raise CallerUnauthenticated(
            "the client certificate names nobody who may call: its DNS or URI names must be among auth_mtls_names"
            if uris or hosts
            else "the client certificate has no DNS or URI name (subjectAltName)"
        )


def _is_uri(name: str, pattern: str) -> bool:
    return ":" in pattern and name == pattern


def _is_host(name: str, pattern: str) -> bool:
    if not pattern.startswith("*."):
        return ":" not in pattern and name == pattern
    label, _, rest = name.partition(".")
    return bool(label) and rest == pattern[2:]


def _folded(pattern: str) -> str:
    return pattern if ":" in pattern else pattern.lower()
