"""IP addresses: exact or refused, and no way around an allow-list."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.address import (
    Network,
    client_address,
    is_allowed,
    is_trusted_proxy,
    parse_address,
    parse_network,
)

ADDRESSES = {
    "192.0.2.1": "192.0.2.1",
    "0.0.0.0": "0.0.0.0",
    "255.255.255.255": "255.255.255.255",
    "::1": "::1",
    "2001:DB8::1": "2001:db8::1",
    "2001:db8:0:0:0:0:0:1": "2001:db8::1",
    "::ffff:192.0.2.1": "192.0.2.1",
    "::FFFF:c000:0201": "192.0.2.1",
    "0:0:0:0:0:ffff:192.0.2.1": "192.0.2.1",
    "::192.0.2.1": "::c000:201",
    "64:ff9b::192.0.2.1": "64:ff9b::c000:201",
}


@pytest.mark.parametrize("text, expected", ADDRESSES.items(), ids=ADDRESSES)
def test_an_address_is_read_in_one_form(text: str, expected: str) -> None:
    """P16 breaks: an IPv4-mapped address differs from its IPv4 address, or two spellings of one address differ."""
    assert str(parse_address(text)) == expected


NO_ADDRESS = [
    "",
    " ",
    "unknown",
    "_hidden",
    "localhost",
    "10.0.0",
    "10.0.0.0.1",
    "10.0.0.256",
    "010.0.0.1",
    "10.0.0.01",
    "0x0a.0.0.1",
    "167772161",
    "10.0.0.1 ",
    " 10.0.0.1",
    "10.0.0.1\n",
    "10.0.0.1:80",
    "10.0.0.1/32",
    "10.0.0.-1",
    "10.0.0.+1",
    "10,0,0,1",
    "１０.0.0.1",
    "10.0.0.١",
    "10。0。0。1",
    "::1%eth0",
    "fe80::1%25eth0",
    "::1%",
    "[::1]",
    "[::1]:80",
    ":::1",
    "::1::",
    "12345::1",
    "::ffff:010.0.0.1",
    "::ffff:10.0.0.256",
    "::ｆ",
    "10.0.0.1\0",
]


@pytest.mark.promise("P16")
@pytest.mark.parametrize("text", NO_ADDRESS, ids=repr)
def test_what_is_not_exactly_an_address_is_refused(text: str) -> None:
    """P16 breaks: an address is accepted that another program would read differently."""
    with pytest.raises(ValueError) as caught:
        parse_address(text)
    assert str(caught.value) == "is not an IP address"


NETWORKS = {
    "10.0.0.1": "10.0.0.1/32",
    "10.0.0.0/8": "10.0.0.0/8",
    "0.0.0.0/0": "0.0.0.0/0",
    "::/0": "::/0",
    "::1": "::1/128",
    "2001:DB8::/32": "2001:db8::/32",
    "::ffff:10.0.0.1": "10.0.0.1/32",
    "::ffff:10.0.0.0/104": "10.0.0.0/8",
    "::ffff:0:0/96": "0.0.0.0/0",
}


@pytest.mark.parametrize("text, expected", NETWORKS.items(), ids=NETWORKS)
def test_a_range_is_read_in_one_form(text: str, expected: str) -> None:
    """P16 breaks: an allow-list covers another range than its owner entered."""
    assert str(parse_network(text)) == expected


@pytest.mark.promise("P16")
@pytest.mark.parametrize(
    "text",
    [
        *NO_ADDRESS[:10],
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/",
        "10.0.0.0/ 8",
        "10.0.0.0/8 ",
        "10.0.0.0/8\n",
        "10.0.0.0/08",
        "10.0.0.0/008",
        "10.0.0.0/0x8",
        "10.0.0.0/8/8",
        "10.0.0.0//8",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/0.255.255.255",
        "10.0.0.0/８",
        "10.0.0.0/٨",
        "10.0.0.0/8.0",
        "10/8",
        "10.0.0/24",
        "10.0.0.*",
        "10.0.0.0-10.0.0.9",
        "010.0.0.0/8",
        "/8",
        "::/129",
        "::/0128",
        "fe80::%eth0/64",
        "fe80::/64%eth0",
        "2001:db8::/ffff::",
    ],
    ids=repr,
)
def test_what_is_not_exactly_a_range_is_refused(text: str) -> None:
    """B8 breaks: an allow-list contains a CIDR range that two programs read differently."""
    with pytest.raises(ValueError):
        parse_network(text)


@pytest.mark.parametrize(
    "text, meant",
    [
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("10.0.0.1/31", "10.0.0.0/31"),
        ("2001:db8::1/64", "2001:db8::/64"),
        ("::ffff:10.0.0.1/96", "::ffff:0.0.0.0/96"),
        ("0.0.0.1/0", "0.0.0.0/0"),
    ],
)
def test_host_bits_are_refused_with_the_range_that_was_meant(text: str, meant: str) -> None:
    """B8 breaks: 10.0.0.1/8 silently allows all of 10.0.0.0/8."""
    with pytest.raises(ValueError, match="has host bits set") as caught:
        parse_network(text)
    assert ip_network(str(caught.value).rpartition(" ")[2]) == ip_network(meant)


@given(st.text(alphabet="0123456789abcdef:./% f\n", max_size=40))
def test_what_is_read_reads_again_and_covers_itself(text: str) -> None:
    """P16 breaks: the stored range differs from the checked one, or an unexpected error is raised."""
    try:
        network = parse_network(text)
    except ValueError:
        return
    assert parse_network(str(network)) == network
    assert is_allowed(parse_address(str(network.network_address)), (network,))


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(parse_network(text) for text in texts)


@pytest.mark.promise("P16")
@pytest.mark.parametrize(
    "address, ranges, expected",
    [
        (None, (), True),
        ("192.0.2.1", (), True),
        (None, ("0.0.0.0/0", "::/0"), False),
        ("192.0.2.1", ("192.0.2.0/24",), True),
        ("192.0.2.1", ("192.0.2.1",), True),
        ("192.0.2.2", ("192.0.2.1",), False),
        ("192.0.2.1", ("2001:db8::/32", "192.0.2.0/24"), True),
        ("192.0.2.1", ("::/0",), False),
        ("2001:db8::1", ("0.0.0.0/0",), False),
        ("2001:db8::1", ("2001:db8::/32",), True),
        ("::ffff:192.0.2.1", ("192.0.2.0/24",), True),
        ("192.0.2.1", ("::ffff:192.0.2.0/120",), True),
        ("::192.0.2.1", ("192.0.2.0/24",), False),
    ],
)
def test_an_allow_list_lets_in_what_it_names(
    address: str | None, ranges: tuple[str, ...], expected: bool
) -> None:
    """P16 breaks: an allow-list admits an address that it does not name, or an unknown address."""
    assert is_allowed(None if address is None else parse_address(address), networks(*ranges)) is expected


TRUSTED = networks("127.0.0.1", "10.0.0.0/8", "2001:db8:aaaa::/48")
PROXIES = ["127.0.0.1", "10.1.2.3", "2001:db8:aaaa::7", "::ffff:10.9.9.9"]
STRANGERS = ["192.0.2.1", "198.51.100.7", "2001:db8::1", "::ffff:203.0.113.5", "11.0.0.1"]
RUBBISH = ["", "unknown", "10.1.2.3:", "010.1.2.3", "fe80::1%eth0", "[::1]80", '"10.1.2.3"', "for=10.1.2.3"]


@pytest.mark.promise("P16")
@pytest.mark.parametrize(
    "peer, fields, expected",
    [
        pytest.param(None, (), None, id="no peer"),
        pytest.param(None, ("192.0.2.1",), None, id="no peer but a header"),
        pytest.param("/run/socket", ("192.0.2.1",), None, id="peer without an address"),
        pytest.param("fe80::1%eth0", (), None, id="peer with a zone"),
        pytest.param("192.0.2.1", (), "192.0.2.1", id="direct"),
        pytest.param("192.0.2.1", ("10.1.2.3",), "192.0.2.1", id="untrusted peer lies"),
        pytest.param("192.0.2.1", ("rubbish",), "192.0.2.1", id="untrusted peer sends rubbish"),
        pytest.param("::ffff:192.0.2.1", (), "192.0.2.1", id="direct, mapped"),
        pytest.param("10.1.2.3", (), "10.1.2.3", id="the proxy itself"),
        pytest.param("10.1.2.3", ("192.0.2.1",), "192.0.2.1", id="one proxy"),
        pytest.param("::ffff:10.1.2.3", ("192.0.2.1",), "192.0.2.1", id="mapped proxy"),
        pytest.param("10.1.2.3", ("192.0.2.1, 127.0.0.1",), "192.0.2.1", id="two proxies"),
        pytest.param("10.1.2.3", ("192.0.2.1", "127.0.0.1"), "192.0.2.1", id="two proxies, two fields"),
        pytest.param("10.1.2.3", (" 192.0.2.1\t",), "192.0.2.1", id="white space"),
        pytest.param("10.1.2.3", ("10.9.9.9, 192.0.2.1",), "192.0.2.1", id="client claims a proxy's address"),
        pytest.param("10.1.2.3", ("198.51.100.7, 192.0.2.1",), "192.0.2.1", id="client claims another's"),
        pytest.param("10.1.2.3", ("rubbish, 192.0.2.1",), "192.0.2.1", id="client writes rubbish"),
        pytest.param("10.1.2.3", ("192.0.2.1, rubbish",), None, id="rubbish at the right"),
        pytest.param("10.1.2.3", ("192.0.2.1,",), None, id="nothing at the right"),
        pytest.param("10.1.2.3", ("192.0.2.1, rubbish, 10.9.9.9",), None, id="rubbish behind a proxy"),
        pytest.param("10.1.2.3", ("",), None, id="empty field"),
        pytest.param("10.1.2.3", ("192.0.2.1:4711",), "192.0.2.1", id="with a port"),
        pytest.param("10.1.2.3", ("192.0.2.1:4711, 10.9.9.9:443",), "192.0.2.1", id="a proxy with a port"),
        pytest.param("10.1.2.3", ("[2001:db8::1]:443",), "2001:db8::1", id="IPv6 with a port"),
        pytest.param("10.1.2.3", ("[2001:db8::1]",), "2001:db8::1", id="IPv6 in brackets"),
        pytest.param("10.1.2.3", ("[::ffff:192.0.2.1]:443",), "192.0.2.1", id="mapped, with a port"),
        pytest.param("10.1.2.3", ("2001:db8::1:443",), "2001:db8::1:443", id="no port without brackets"),
        pytest.param("10.1.2.3", ("192.0.2.1:",), None, id="a colon without a port"),
        pytest.param("10.1.2.3", ("192.0.2.1:x",), None, id="a port of letters"),
        pytest.param("10.1.2.3", ("[2001:db8::1]443",), None, id="a port without a colon"),
        pytest.param("10.1.2.3", ("[fe80::1%eth0]:443",), None, id="a zone in brackets"),
        pytest.param("10.1.2.3", ("10.9.9.9, 127.0.0.1",), "10.9.9.9", id="proxies only"),
        pytest.param("10.1.2.3", ("::ffff:192.0.2.1",), "192.0.2.1", id="mapped client"),
    ],
)
def test_whose_address_counts(peer: str | None, fields: tuple[str, ...], expected: str | None) -> None:
    """P16 breaks: a client chooses the address that it is judged by."""
    found = client_address(peer, fields, TRUSTED)
    assert (None if found is None else str(found)) == expected


@pytest.mark.promise("P16")
def test_without_trusted_proxies_nothing_is_believed() -> None:
    """P16 breaks: forwarded addresses are used from loopback or from any peer without configuration."""
    for peer in (*PROXIES, *STRANGERS):
        assert client_address(peer, ("203.0.113.9",), ()) == parse_address(peer)
        assert not is_trusted_proxy(peer, ())


def entries(*pools: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from([entry for pool in pools for entry in pool]), max_size=6)


@pytest.mark.promise("P16")
@given(
    st.sampled_from(PROXIES),
    entries(PROXIES, STRANGERS, RUBBISH),
    st.sampled_from(STRANGERS),
    entries(PROXIES),
)
def test_what_the_client_writes_changes_nothing(
    peer: str, forged: list[str], client: str, proxies: list[str]
) -> None:
    """P16 breaks: entries that the client itself sent, left of those that the proxies appended, decide."""
    for fields in ((", ".join([*forged, client, *proxies]),), (*forged, client, *proxies)):
        assert client_address(peer, fields, TRUSTED) == parse_address(client)


@pytest.mark.promise("P16")
@given(
    st.sampled_from([*PROXIES, *STRANGERS, *RUBBISH]),
    entries(PROXIES, STRANGERS, RUBBISH),
    st.integers(0, 6),
)
def test_the_walk_is_the_naive_one(peer: str, chain: list[str], split: int) -> None:
    """P16 breaks: reading from the right stops too early or too late, or reads the headers in another order."""
    found = client_address(
        peer, tuple(",".join(part) for part in (chain[:split], chain[split:]) if part), TRUSTED
    )
    believed = None
    for hop in [peer, *reversed(chain)]:
        if hop in RUBBISH:
            believed = None
            break
        believed = hop
        if hop in STRANGERS:
            break
    assert found == (None if believed is None else parse_address(believed))


@pytest.mark.parametrize(
    "peer, expected",
    [(peer, True) for peer in PROXIES]
    + [(peer, False) for peer in (*STRANGERS, *RUBBISH, "10.0.0.0/8")]
    + [(None, False)],
)
def test_who_is_trusted(peer: str | None, expected: bool) -> None:
    """P15 breaks: forwarding headers from an untrusted peer are used."""
    assert is_trusted_proxy(peer, TRUSTED) is expected


@given(st.ip_addresses())
def test_every_address_is_itself(address: object) -> None:
    """P16 breaks: a valid address is refused, or read as another one."""
    expected = ip_address(str(address))
    mapped = getattr(expected, "ipv4_mapped", None)
    assert parse_address(str(expected)) == (expected if mapped is None else mapped)
