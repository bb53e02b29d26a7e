"""IP addresses: strict parsing of addresses and CIDR ranges, allow-lists, and the client's address behind proxies.

`ipaddress` is more lenient than a security rule may be. Here an IPv4-mapped IPv6 address is always treated as its IPv4
address, and inexact forms are refused.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_ENTRIES = 100


def parse_address(text: str) -> Address:
    """Parse an IP address. Raises ValueError if it is not exact, has a zone, or has non-ASCII digits."""
    if not text.isascii() or "%" in text:
        raise ValueError("is not an IP address")
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError("is not an IP address") from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_network(text: str) -> Network:
    """Parse an address or CIDR range without host bits. Raises ValueError with the reason for the person who typed it."""
    if not text.isascii() or "%" in text:
        raise ValueError("is not an IP address or CIDR range")
    _, slash, bits = text.partition("/")
    if slash and not (bits.isdigit() and str(int(bits[:4])) == bits):
        raise ValueError("the prefix length after the slash must be a number")
    try:
        network = ip_network(text, strict=True)
    except ValueError as error:
        if "host bits" in str(error):
            raise ValueError(f"has host bits set; the range is {ip_network(text, strict=False)}") from None
        raise ValueError("is not an IP address or CIDR range") from None
    if isinstance(network, IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:  # and so the prefix is 96 bits or more: host bits were refused
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


def is_allowed(address: Address | None, networks: tuple[Network, ...]) -> bool:
    """Return whether an allow-list admits an address. An empty list admits all; any other list refuses an unknown
    address."""
    if not networks:
        return True
    return address is not None and any(address in network for network in networks)


def is_subset(inner: tuple[Network, ...], outer: tuple[Network, ...]) -> bool:
    """Return whether the inner allow-list admits only addresses that the outer one admits. An empty list admits all."""
    if not outer:
        return True
    return bool(inner) and all(any(_subnet(each, network) for network in outer) for each in inner)


def _subnet(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def is_loopback_host(host: str) -> bool:
    """Return whether a host name or address refers to this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return parse_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def client_address(
    peer: str | None, forwarded_for: tuple[str, ...], trusted: tuple[Network, ...]
) -> Address | None:
    """Return the client's address: the peer's, or the one that a trusted proxy forwards. None if it is undetermined.

    `forwarded_for` has the values of the X-Forwarded-For headers in the order received. Entries are read from the
    right: the first one that is not a trusted proxy is the client. An entry that is not an address makes the client
    undetermined, because its writer may have wanted to hide the address. A peer that is not trusted is the client
    itself.
    """
    if peer is None:
        return None
    try:
        address = parse_address(peer)
    except ValueError:
        return None
    if not any(address in network for network in trusted):
        return address
    for entry in reversed([part.strip() for value in forwarded_for for part in value.split(",")]):
        try:
            address = parse_address(_without_port(entry))
        except ValueError:
            return None
        if not any(address in network for network in trusted):
            return address
    return address


_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([^\[\]]+)\](?::[0-9]{1,5})?")
"""An address with a port, as some proxies send it: `203.0.113.9:51123`, `[2001:db8::1]:443`, `[2001:db8::1]`."""


def _without_port(entry: str) -> str:
    found = _WITH_PORT.fullmatch(entry)
    return entry if found is None else found[1] or found[2]


def failure_group(address: Address | None) -> str:
    """Return the group in which failures are counted together: an IPv4 address, an IPv6 /64, or all unknown addresses."""
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


def network_of(address: Address | None) -> str:
    """Return the network of an address, an IPv4 /24 or an IPv6 /48; the text `None` for an unknown address."""
    if address is None:
        return "None"
    bits, length = (address.max_prefixlen, 24 if isinstance(address, IPv4Address) else 48)
    first = int(address) >> (bits - length) << (bits - length)
    return f"{type(address)(first)}/{length}"


def is_trusted_proxy(peer: str | None, trusted: tuple[Network, ...]) -> bool:
    """Return whether the peer is a trusted proxy, whose forwarding headers are used."""
    try:
        return peer is not None and any(parse_address(peer) in network for network in trusted)
    except ValueError:
        return False
