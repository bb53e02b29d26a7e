"""P18: a URL from a stranger cannot make this service connect to internal hosts.

An audit hook of the interpreter records every connection attempt, so the test knows that there was none, not only that
nothing responded. Real listeners on loopback count connections.
"""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import pytest

from ostiary.core.address import parse_address
from ostiary.http import outbound
from ostiary.http.outbound import OutboundError, fetch, is_public
from tests.conftest import PROVE
from tests.far_side import FarSide, dialled, far_side
from tests.promises.line import prove

pytestmark = pytest.mark.promise("P18")

INSIDE = [
    # This machine
    "127.0.0.1", "127.0.0.53", "127.255.255.254", "::1", "0.0.0.0", "0.1.2.3", "::",
    # Private networks, and networks of providers
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "100.64.0.1",
    "100.127.255.255",
    "fc00::1", "fd00::1", "fd12:3456:789a::1", "fec0::1", "feff::1",
    # Link-local, where clouds serve metadata
    "169.254.0.1", "169.254.169.254", "169.254.170.2", "fe80::1", "febf::1", "fd00:ec2::254", "100.100.100.200",
    "192.0.0.192",
    # An IPv4 address inside another: mapped, compatible, translated, NAT64, local NAT64, 6to4, Teredo, ISATAP
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::10.0.0.1",
    "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a00:1", "64:ff9b::808:808", "64:ff9b:1::7f00:1", "64:ff9b:1:fffe::a9fe:a9fe", "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2a00:1450::5efe:a00:1", "2a00:1450::200:5efe:a00:1",
    # Multicast, broadcast, reserved
    "224.0.0.1", "239.255.255.250", "232.0.0.1", "255.255.255.255", "240.0.0.1", "250.1.2.3", "ff02::1", "ff05::2",
    "ff0e::1",
    # Protocols, tests, documentation, relays
    "192.0.0.1", "192.0.0.8", "192.0.0.170", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1",
    "198.19.255.255", "192.88.99.1",
    "192.31.196.1", "192.52.193.1", "192.175.48.1", "100::1", "100:0:0:1::1", "2001::1", "2001:2::1", "2001:10::1",
    "2001:20::1",
    "2001:1::1", "2001:db8::1", "3fff::1", "5f00::1", "4000::1", "8000::1", "1::1", "200::1", "2620:4f:8000::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "126.255.255.255",
    "128.0.0.1", "169.253.255.255",
    "169.255.0.1", "172.15.255.255", "172.32.0.1", "192.0.1.1", "192.0.3.1", "192.167.255.255", "192.169.0.1",
    "198.17.255.255",
    "198.20.0.1", "223.255.255.255", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700::1111",
    "2a00:1450:4001::1", "2c0f::1",
]  # fmt: skip

WRITTEN = [
    # Names that need no resolver, or that a resolver completes
    "localhost", "LOCALHOST", "localhost.", "intranet", "metadata",
    # Addresses in the forms of resolvers and browsers, one for each form
    "127.1", "127.0.1", "127.000.000.001", "0177.0.0.1", "0177.0.0.01", "00000177.1", "0x7f.0.0.1", "0x7f.1",
    "0X7F.0.0.0x1", "0x7f000001",
    "2130706433", "017700000001", "0x7f.0x0.0x0.0x1", "0", "0.0", "0x0", "1", "127.0.0.1.", "127.0.0.256",
    "4294967295", "3232235521", "10.1",
    "169.254.43518", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "127.0.0.1.1", "app.example.127",
    "app.example.0x7f",
    # Brackets
    "[::1]", "[0:0:0:0:0:0:0:1]", "[::0001]", "[::ffff:127.0.0.1]", "[::FFFF:7f00:1]", "[::127.0.0.1]",
    "[fe80::1%25eth0]", "[fe80::1%eth0]",
    "[::1%lo]", "[::1", "::1", "[127.0.0.1]", "[v1.127.0.0.1]", "[]", "[64:ff9b::7f00:1]", "[64:FF9B::127.0.0.1]",
    # Other characters for the same digits and dots
    "１２７.0.0.1", "127。0。0。1", "①②⑦.⓪.⓪.①", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "locaⅼhost", "127.0.0.1\u200b", "loc\u00adalhost",
    # Userinfo, escapes, white space, and URL separators
    "app.example.com@127.0.0.1", "a:b@127.0.0.1", "127.0.0.1@app.example.com", "app.example.com:443@127.0.0.1",
    "app.example.com%40127.0.0.1",
    "127.0.0.1%00.app.example.com", "%31%32%37.0.0.1", "%6cocalhost", "127.0.0.1#app.example.com",
    "127.0.0.1?app.example.com",
    "127.0.0.1\\app.example.com", "app.example.com\\@127.0.0.1", "127.0.0.1\t", "\t127.0.0.1", "127.0.\n0.1",
    " 127.0.0.1", "127.0.0.1 ",
    "127.0.0.1\0", "127.0.0.1,app.example.com", "127.0.0.1;app.example.com", "/127.0.0.1", "", ".", "..", "-",
    "a..b", "*", "a_b.example.com",
]  # fmt: skip
SCHEMES = [
    "http://{}/x", "HTTP://{}/x", "HTTPS://{}/x", "ftp://{}/x", "file:///etc/passwd", "file://{}/x",
    "gopher://{}/x", "dict://{}/x",
    "ldap://{}/", "ws://{}/x", "wss://{}/x", "unix:///run/docker.sock", "jar:https://{}/x",
    "data:application/json,{{}}", "//{}/x", "{}/x",
    "https:{}/x", "https:/{}/x", "https:///{}/x", "https:\\\\{}\\x", "javascript:x", "netdoc:///etc/passwd",
    "https+unix://{}/x", "",
]  # fmt: skip


class Resolver:
    """Returns planned answers of name servers in turn and counts queries. Other names resolve to this machine."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if self.answers else ["127.0.0.1"]


@pytest.fixture(scope="module")
def inside() -> Iterator[FarSide]:
    """A service of this machine that accepts every connection."""
    with far_side() as found:
        yield found


def refusal(url: str, resolver: Resolver, *allowed: str) -> str:
    """Return the reason why a URL was not fetched."""
    with pytest.raises(OutboundError) as caught:
        fetch(
            url,
            max_bytes=1000,
            accept="application/json",
            allowed=frozenset(allowed),
            resolve=resolver,
            clock=lambda: 0.0,
        )
    return caught.value.reason


FIGURES: dict[str, object] = {}


def bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def test_no_form_of_an_inner_address_is_connected_to(inside: FarSide) -> None:
    """P18 breaks: a URL makes the service connect to itself, to its neighbours, or to its cloud's metadata."""
    hosts = [
        *WRITTEN,
        *map(bracketed, INSIDE),
        *(ip_address(each).exploded for each in INSIDE if ":" in each),
    ]
    forms = [f"https://{host}{port}/x" for host in hosts for port in ("", ":443", f":{inside.port}")]
    forms += [
        each.format(host)
        for each in SCHEMES
        for host in ("127.0.0.1", "app.example.com", f"127.0.0.1:{inside.port}")
    ]
    reasons: dict[str, int] = {}
    with dialled() as places:
        for form in forms:
            resolver = Resolver()
            reason = refusal(form, resolver)
            reasons[reason] = reasons.get(reason, 0) + 1
            assert reason in {"url", "port", "inside"}, form
    print(
        f"{len(set(forms))} forms of URLs, {len(places)} connections, {inside.connections} arrived; {reasons}"
    )
    FIGURES["forms of URLs"] = len(set(forms))
    FIGURES["connections tried"] = len(places)
    assert len(WRITTEN) + len(INSIDE) >= 40
    assert (places, inside.connections) == ([], 0)


def test_a_url_is_checked_as_it_would_be_fetched() -> None:
    """P18 breaks: a URL to an internal host is registered, because its name hides the address."""
    for addresses, reason in (
        (["127.0.0.1"], "inside"), (["93.184.215.14", "10.0.0.1"], "inside"), ([], "name"), (["93.184.215.14"], None),
    ):  # fmt: skip
        try:
            outbound.check("https://app.test/k", allowed=frozenset(), resolve=lambda *_, a=addresses: a)
            found = None
        except OutboundError as error:
            found = error.reason
        assert found == reason, addresses


def test_a_name_with_an_inner_address_is_refused(inside: FarSide) -> None:
    """P18 breaks: an attacker's name resolves to an internal address, alone or beside a public one."""
    cases: list[list[str]] = []
    for address in [*INSIDE, "fe80::1%eth0", "fe80::1%2", "::1%lo", "127.1", "0x7f000001", "localhost", ""]:
        cases += [[address], [address, "8.8.8.8"], ["8.8.8.8", address], [*PUBLIC, address]]
    with dialled() as places:
        for case in cases:
            resolver = Resolver(case)
            assert refusal("https://app.example.com/x", resolver) == "inside", case
            assert resolver.asked == ["app.example.com"]
    FIGURES["answers of resolvers"] = len(cases)
    FIGURES["connections tried after those"] = len(places)
    if PROVE:
        prove("P18", "no fetch reaches inside", 0, FIGURES)
    print(f"{len(cases)} answers of resolvers, {len(places)} connections, {inside.connections} arrived")
    assert (places, inside.connections) == ([], 0)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_name_is_resolved_once(inside: FarSide, address: str) -> None:
    """P18 breaks: a name resolves to a public address when it is checked, and to this machine on connection."""
    resolver = Resolver([address], ["127.0.0.1"], ["127.0.0.1"])
    with dialled() as places:
        assert refusal("https://app.example.com/x", resolver) == "connection"
    assert resolver.asked == ["app.example.com"]
    assert (places, inside.connections) == ([address], 0)


@pytest.mark.parametrize(
    "url, reason",
    [
        ("http://app.example.com/", "url"),
        ("http://app.example.com:443/", "url"),
        ("https://app.example.com:8443/", "port"),
        ("https://8.8.8.8:22/", "port"),
        ("https://intranet/", "inside"),
    ],
)
def test_a_public_address_does_not_make_it_good(url: str, reason: str) -> None:
    """P18 breaks: a URL can use any port, plain HTTP, or a name that the machine's search domain completes."""
    with dialled() as places:
        assert refusal(url, Resolver(["8.8.8.8"])) == reason
    assert places == []


def test_public_addresses_are_not_inside() -> None:
    """Client documents break: hosts on the public Internet cannot be reached."""
    assert [each for each in PUBLIC if not is_public(parse_address(each))] == []
    assert [each for each in INSIDE if is_public(parse_address(each))] == []


def test_what_is_allowed_is_allowed_by_name_and_port_only(inside: FarSide) -> None:
    """P18 breaks: one host that the operator allowed opens the rest of the machine or the network."""
    allowed = f"idp.internal:{inside.port}"
    with far_side() as other, dialled() as places:
        for url in (
            f"http://idp.internal:{other.port}/", "http://idp.internal/", "https://idp.internal/",
            f"http://127.0.0.1:{inside.port}/",
            f"http://localhost:{inside.port}/", f"http://a.idp.internal:{inside.port}/",
            f"http://idp.internal.example.com:{inside.port}/",
            f"http://a@idp.internal:{inside.port}/", f"http://idp.internal.:{inside.port}/",
            f"http://idp%2einternal:{inside.port}/",
        ):  # fmt: skip
            assert refusal(url, Resolver(), allowed) in {"url", "port", "inside"}, url
        assert (places, inside.connections, other.connections) == ([], 0, 0)
    found = fetch(
        f"http://IDP.internal:{inside.port}/x",
        max_bytes=2,
        accept="*/*",
        allowed=frozenset({allowed}),
        resolve=Resolver(),
    )
    assert (found.body, inside.connections) == (b"{}", 1)
