"""What an address says: whether only this machine can reach it, which decides whether publishing takes keys; IPv6."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from eventveil.addresses import split_host_port


def is_local(endpoint: str) -> bool:
    """Whether nobody outside this machine can connect: `ipc://`, or `tcp://` on a loopback address.

    A name of an interface, such as `lo`, says nothing certain about its addresses, and counts as public.
    """
    if endpoint.startswith("ipc://"):
        return True
    return _host(endpoint) == "localhost" or is_loopback(_address(endpoint))


def is_ipv6(endpoint: str) -> bool:
    """Whether an endpoint is an IPv6 address. Names and `*` mean IPv4.

    ZeroMQ takes the first address that it finds for a name, and where IPv6 is switched on that is the one that a
    publisher on `tcp://127.0.0.1:5556` or `tcp://*:5556` does not listen on.
    """
    return isinstance(_address(endpoint), IPv6Address)


def is_loopback(address: IPv4Address | IPv6Address | None) -> bool:
    """Whether an address is this machine's alone; IPv4 in IPv6's clothes is taken for what it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address is not None and (mapped or address).is_loopback


def _host(endpoint: str) -> str:
    return split_host_port(endpoint.removeprefix("tcp://"))[0]


def _address(endpoint: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(_host(endpoint))
    except ValueError:
        return None
