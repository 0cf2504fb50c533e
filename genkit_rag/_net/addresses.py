"""Which IP addresses a request may reach, after the special-purpose registries of the IANA.

https://www.iana.org/assignments/iana-ipv4-special-registry and
https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _networks(table: Mapping[str, str]) -> list[tuple[Network, str]]:
    return [(ipaddress.ip_network(text), reason) for networks, reason in table.items() for text in networks.split()]


_PRIVATE = _networks(
    {
        "127.0.0.0/8 ::1/128": "this machine (loopback)",
        "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16": "a private network (RFC 1918)",
        "100.64.0.0/10": "a carrier's private network (RFC 6598)",
        "fc00::/7": "a private network (RFC 4193)",
    }
)

# Where clouds hand out the credentials of the machine. Some lie in networks that are private, one looks public.
_METADATA = _networks(
    {
        "169.254.169.254/32 169.254.170.2/32 169.254.170.23/32 100.100.100.200/32 168.63.129.16/32 192.0.0.192/32 "
        "fd00:ec2::254/128 fd00:ec2::23/128 fd20:ce::254/128": "the metadata service of a cloud",
    }
)

_NEVER = _networks(
    {
        "0.0.0.0/8": "this machine (unspecified)",
        "169.254.0.0/16": "link-local",
        "192.0.0.0/24 192.88.99.0/24 198.18.0.0/15 240.0.0.0/4": "reserved",
        "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24": "reserved for documentation",
        "224.0.0.0/4": "multicast",
        "fe80::/10": "link-local",
        "ff00::/8": "multicast",
        "2001::/23": "reserved",
        "2001:db8::/32 3fff::/20": "reserved for documentation",
    }
)

_GLOBAL_IPV6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def refusal(address: Address, *, allow_private: bool = False) -> str | None:
    """Return the reason why an address is not allowed; None if it is.

    Args:
        address: Where a connection would go.
        allow_private: Whether loopback and private networks may be reached. Metadata services, link-local, multicast
            and reserved addresses may not, all the same.
    """
    inner = _embedded(address)
    for networks in (_METADATA, () if allow_private else _PRIVATE, _NEVER):
        for network, reason in networks:
            if inner in network:
                return reason
    if isinstance(inner, IPv6Address) and inner not in _GLOBAL_IPV6 and not (allow_private and _is_private(inner)):
        return "reserved"
    return None


def _is_private(address: Address) -> bool:
    return any(address in network for network, _ in _PRIVATE)


def _embedded(address: Address) -> Address:
    """Return the IPv4 address embedded in an IPv6 address, otherwise the address without its zone."""
    if isinstance(address, IPv4Address):
        return address
    number = int(address)
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if IPv6Address(number) in _NAT64:  # what DNS64 gives for every server that has IPv4 only
        return IPv4Address(number & 0xFFFFFFFF)
    return IPv6Address(number)
