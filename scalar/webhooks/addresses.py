"""Where webhooks may go: URLs, and the addresses that their names lead to. No I/O in here.

A customer chooses the URL, so that anything that our own network can reach would be theirs to ask: databases, other
machines, the cloud's metadata service with its credentials.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

MAX_URL = 2048
_PRINTABLE = re.compile(r"[!-\[\]-~]+")

_GLOBAL_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC: tuple[tuple[IPv4Network | IPv6Network, str], ...] = tuple(
    (ip_network(network), why)
    for why, networks in {
        "unspecified": ("0.0.0.0/8",),
        "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        "shared by a carrier's customers": ("100.64.0.0/10",),
        "loopback": ("127.0.0.0/8",),
        "link-local": ("169.254.0.0/16",),
        "reserved": ("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4", "2001::/23", "3ffe::/16"),
        "for documentation": (
            "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20",
        ),
        "multicast": ("224.0.0.0/4",),
        # In public space, and answered by the machine's own host.
        "a cloud's metadata": ("168.63.129.16/32",),
        # An IPv4 address inside, which a relay may lead to.
        "a way around": ("2002::/16",),
    }.items()
    for network in networks
)  # fmt: skip


def why_not_address(address: str) -> str | None:
    """What keeps us from sending to this address; None: it is a public one.

    `address`: an IPv4 or IPv6 address as the system writes it, with a scope or without.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return "no address"
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return _why_not(found.ipv4_mapped)
        if found.scope_id is not None or found not in _GLOBAL_V6:
            return "not public"
    return _why_not(found)


def _why_not(address: IPv4Address | IPv6Address) -> str | None:
    return next((why for network, why in _NOT_PUBLIC if address in network), None)


def why_not_url(url: str, *, allow_private: bool) -> str | None:
    """What is wrong with a URL as an endpoint's; None: nothing that can be seen without looking its name up."""
    if len(url) > MAX_URL or not _PRINTABLE.fullmatch(url):
        return f"it has at most {MAX_URL} characters, ASCII without spaces: names of other letters as punycode"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "it is no URL"
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        return "it begins with https://"
    if not host or port == 0:
        return "it names no host"
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "it has neither a user, a password nor a #fragment"
    return None if allow_private else _why_not_host(host)


def _why_not_host(host: str) -> str | None:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return "it leads to this machine"
    try:
        ip_address(host)
    except ValueError:
        return None
    why = why_not_address(host)
    return f"its address is not public ({why})" if why else None
