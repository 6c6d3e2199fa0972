"""The egress policy as an operator writes it."""

from __future__ import annotations

import pytest

from caller.custom_llm.http.egress_policy import EgressDenied, EgressPolicy, HostEntry, Mode, NetworkEntry, parse_entry

PORTS = range(1, 65536)

ENTRIES = [
    ("llm.internal", "llm.internal", PORTS),
    ("LLM.Internal.", "llm.internal", PORTS),
    ("llm.internal:8000", "llm.internal", range(8000, 8001)),
    ("llm.internal:8000-9000", "llm.internal", range(8000, 9001)),
    ("localhost", "localhost", PORTS),
    ("under_score", "under_score", PORTS),
    ("xn--bcher-kva.example", "xn--bcher-kva.example", PORTS),
    ("10.0.0.0/8", "10.0.0.0/8", PORTS),
    ("10.0.0.0/8:8000-9000", "10.0.0.0/8", range(8000, 9001)),
    ("192.168.1.7:443", "192.168.1.7/32", range(443, 444)),
    ("0.0.0.0/0", "0.0.0.0/0", PORTS),
    ("::1", "::1/128", PORTS),
    ("fd00::/8", "fd00::/8", PORTS),
    ("[fd00::/8]", "fd00::/8", PORTS),
    ("[fd00::/8]:443", "fd00::/8", range(443, 444)),
    ("[::1]:1-65535", "::1/128", PORTS),
]


@pytest.mark.parametrize(("text", "target", "ports"), ENTRIES)
def test_an_entry_is_a_host_or_a_block_with_ports(text: str, target: str, ports: range) -> None:
    """Names, addresses and blocks are read, each with an optional port or range of ports."""
    entry = parse_entry(text)

    read = entry.name if isinstance(entry, HostEntry) else str(entry.network)
    assert (read, entry.ports) == (target, ports)


def test_a_star_stands_for_the_names_below() -> None:
    """`*.example.com` means every name below example.com at any depth, and not example.com."""
    entry = parse_entry("*.Example.com:443")

    assert entry == HostEntry("example.com", subdomains=True, ports=range(443, 444))
    assert isinstance(entry, HostEntry)
    assert entry.matches("a.example.com", 443)
    assert entry.matches("a.b.example.com", 443)
    assert not entry.matches("example.com", 443)
    assert not entry.matches("badexample.com", 443)
    assert not entry.matches("a.example.com", 80)


UNREADABLE = (
    "* *. *.*.com a*.com http://llm.internal llm.internal/v1 user@llm.internal llm..internal .llm llm:0 llm:65536 llm:x"
    " llm: llm:1- llm:9-8 llm:1-2-3 llm:-1 10.0.0.1/8 10.0.0.0/33 127.1 0x7f.1 2130706433 127.0.0.1. 1.2.3.4.5"
    " [::1 ::1] [::1]443 [::1]:x [] fd00::1/8 b\u00fccher.example 169.254.169.254 169.254.0.0/16 fe80::/10"
    " fd00:ec2::254 100.100.100.200 168.63.129.16 224.0.0.0/4 0.0.0.0 255.255.255.255 ::ffff:10.0.0.1 64:ff9b::/96"
    " 2002:a00::/24 -a a-"
)


@pytest.mark.parametrize("text", UNREADABLE.split())
def test_an_entry_that_means_nothing_is_named(text: str) -> None:
    """What cannot be read, or could never be reached, is a mistake at the start and not a silence later."""
    with pytest.raises(ValueError, match=r"egress allowlist entry") as caught:
        EgressPolicy.parse("allowlist", ["good.example", text])

    assert repr(text) in str(caught.value)


def test_a_policy_is_read_from_words() -> None:
    """The three modes have the names of the settings, blanks are skipped, the order of entries is kept."""
    assert EgressPolicy.parse("open") == EgressPolicy() == EgressPolicy(Mode.OPEN)
    assert EgressPolicy.parse("public-only", allow_http=True) == EgressPolicy(Mode.PUBLIC_ONLY, allow_http=True)

    policy = EgressPolicy.parse("allowlist", [" a.example ", "", "10.0.0.0/8"])
    assert isinstance(policy.allow[0], HostEntry)
    assert isinstance(policy.allow[1], NetworkEntry)
    assert len(policy.allow) == 2


@pytest.mark.parametrize("mode", ["", "closed", "OPEN", "public_only"])
def test_an_unknown_mode_is_refused_with_the_choices(mode: str) -> None:
    """A policy that does not exist names those that do."""
    with pytest.raises(ValueError, match=r"open, public-only, allowlist"):
        EgressPolicy.parse(mode)


def test_an_allowlist_that_restricts_nothing_is_refused() -> None:
    """An operator who lists hosts and forgets the mode is told, and not left wide open."""
    with pytest.raises(ValueError, match=r"allowlist"):
        EgressPolicy.parse("open", ["llm.internal"])


PUBLIC = "1.1.1.1 8.8.8.8 93.184.216.34 [2606:4700:4700::1111] [::ffff:8.8.8.8] [64:ff9b::8.8.8.8] [2002:808:808::1]"


@pytest.mark.parametrize("host", [*PUBLIC.split(), "api.example.com", "xn--bcher-kva.example", "a.example."])
@pytest.mark.parametrize("mode", ["open", "public-only"])
def test_public_endpoints_pass(mode: str, host: str) -> None:
    """Public addresses, the IPv4 ones in their IPv6 forms included, and any good name pass the first check."""
    policy = EgressPolicy.parse(mode)

    policy.check_url("https", host, 443)
    if host[-1].isdigit() or host.startswith("["):
        assert policy.refusal(host.strip("[]"), 443) is None


@pytest.mark.parametrize(
    "scheme", ["", "ftp", "file", "gopher", "ws", "wss", "HTTP", "unix", "http+unix", "javascript"]
)
def test_only_http_and_https(scheme: str) -> None:
    """Other schemes are refused with a text that says which are not."""
    with pytest.raises(EgressDenied, match=r"only http and https"):
        EgressPolicy().check_url(scheme, "api.example.com", 443)


@pytest.mark.parametrize("port", [-1, 0, 65536, 2**31])
def test_only_ports(port: int) -> None:
    """A port that is none is refused."""
    with pytest.raises(EgressDenied):
        EgressPolicy().check_url("https", "api.example.com", port)


HOSTILE = [
    "",
    ".",
    "..",
    "a b",
    "a\r\nHost: x",
    "a\x00.test",
    "user@host",
    "a/b",
    "a\\b",
    "a?b",
    "a#b",
    "a%2eb",
    "\uff41.test",
]


@pytest.mark.parametrize("host", HOSTILE)
def test_what_is_no_host_is_refused_and_not_repeated(host: str) -> None:
    """Control characters and parts of other fields are refused; neither text nor reason repeats them."""
    with pytest.raises(EgressDenied) as caught:
        EgressPolicy().check_url("https", host, 443)

    assert caught.value.reason == "malformed host"
    assert str(caught.value) == "[Errno 13] the host is neither a name nor an IP address in its plain form"


def test_a_block_asks_the_lookup_and_a_list_of_names_does_not() -> None:
    """A name that no entry has is refused before any lookup, unless a listed block could hold its addresses."""
    with pytest.raises(EgressDenied):
        EgressPolicy.parse("allowlist", ["llm.internal", "10.0.0.0/8:8000"]).check_url("https", "other.internal", 443)

    EgressPolicy.parse("allowlist", ["llm.internal", "10.0.0.0/8:443"]).check_url("https", "other.internal", 443)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1", "168.63.129.16", "::ffff:100.100.100.200", "fd00:ec2::254"]
)
def test_no_list_allows_metadata(address: str) -> None:
    """A listed name may lead to a private address, and never to metadata; nor does any block hold it."""
    policy = EgressPolicy.parse("allowlist", ["llm.internal", "0.0.0.0/0", "::/0"])

    assert policy.refusal("10.0.0.1", 80, "llm.internal") is None
    assert policy.refusal(address, 80, "llm.internal") is not None


@pytest.mark.parametrize(
    ("mode", "allow", "host", "words"),
    [
        ("open", [], "169.254.169.254", "not allowed by any egress policy: cloud metadata address"),
        ("public-only", [], "10.0.0.1", "by the egress policy public-only: private use address"),
        ("public-only", [], "127.0.0.1", "by the egress policy public-only: loopback address"),
        ("allowlist", ["10.0.0.0/8"], "192.168.0.1", "by the egress policy allowlist: private use address"),
        (
            "allowlist",
            ["10.0.0.0/8"],
            "8.8.8.8",
            "by the egress policy allowlist: address that egress_allow does not have",
        ),
        (
            "allowlist",
            ["llm.internal"],
            "other.internal",
            "by the egress policy allowlist: not on the list of egress_allow",
        ),
    ],
)
def test_the_text_names_the_policy_and_the_kind_of_address(mode: str, allow: list[str], host: str, words: str) -> None:
    """Of what was asked for; the whole reason is for the log."""
    with pytest.raises(EgressDenied) as caught:
        EgressPolicy.parse(mode, allow).check_url("https", host, 443)
    assert words in str(caught.value)
    assert host in caught.value.reason


@pytest.mark.parametrize(
    ("mode", "addresses"),
    [
        ("open", ["169.254.169.254", "fe80::1", "224.0.0.1"]),
        ("public-only", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "fe80::1"]),
        ("allowlist", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "8.8.8.8"]),
    ],
)
def test_the_text_does_not_tell_what_a_name_leads_to(mode: str, addresses: list[str]) -> None:
    """It is the same for every address, and for none: nobody learns what is on the inner network."""
    policy = EgressPolicy.parse(mode, ["198.18.0.0/15"] if mode == "allowlist" else [])
    told = {str(policy.unresolved("llm.example", "no address"))}
    for address in addresses:
        with pytest.raises(EgressDenied) as caught:
            policy.check_address(address, 443, "llm.example")
        assert address in caught.value.reason
        told.add(str(caught.value))

    assert len(told) == 1
    assert f"the egress policy {mode}" in told.pop()
