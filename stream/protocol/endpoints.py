"""Properties of endpoints: whether only this machine can reach one, which decides if publishing needs keys; IPv6."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from eventveil.host.addresses import parse_port, split_host_port

DV_TCP = "dv+tcp://"


def is_local(endpoint: str) -> bool:
    """Return whether only this machine can connect: `ipc://`, or `tcp://` on a loopback address.

    The name of an interface, such as `lo`, says nothing certain about its addresses and counts as public.
    """
    if endpoint.startswith("ipc://"):
        return True
    return _host(endpoint) == "localhost" or is_loopback(_address(endpoint))


def dv_address(uri: str) -> tuple[str, int]:
    """Return the host and the port of a DV network stream, `dv+tcp://HOST:PORT`, that only this machine can reach.

    Raises:
        ValueError: the URI has another form, or other machines could connect.
    """
    host, port = split_host_port(uri.removeprefix(DV_TCP))
    number = parse_port(port)
    if not uri.startswith(DV_TCP) or not host or not number:
        raise ValueError(f"expected {DV_TCP}HOST:PORT, as in {DV_TCP}127.0.0.1:7777, got {uri!r}")
    host = "127.0.0.1" if host == "localhost" else host
    if not is_local(f"tcp://[{host}]:{number}"):
        raise ValueError(
            f"other machines could reach {host}, and a DV stream has no keys: serve on this machine, as in "
            f"{DV_TCP}127.0.0.1:7777; another machine can run `eventveil subscribe` with keys, and serve there"
        )
    return host, number


def is_ipv6(endpoint: str) -> bool:
    """Return whether an endpoint is an IPv6 address. Names and `*` mean IPv4.

    ZeroMQ takes the first address that a name resolves to. With IPv6 enabled, that is one on which a publisher on
    `tcp://127.0.0.1:5556` or `tcp://*:5556` does not listen.
    """
    return isinstance(_address(endpoint), IPv6Address)


def is_loopback(address: IPv4Address | IPv6Address | None) -> bool:
    """Return whether an address is a loopback address; an IPv4-mapped IPv6 address counts as the IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address is not None and (mapped or address).is_loopback


def names_this_machine(host_header: str) -> bool:
    """Return whether the `Host` of a request names this machine by a local name, with or without a port.

    A web page that lets its own name point here (DNS rebinding) makes a browser name that.
    """
    host = host_header.rpartition("]")[0].removeprefix("[") or host_header.partition(":")[0]
    try:
        return host == "localhost" or is_loopback(ip_address(host))
    except ValueError:
        return False


def _host(endpoint: str) -> str:
    return split_host_port(endpoint.removeprefix("tcp://"))[0]


def _address(endpoint: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(_host(endpoint))
    except ValueError:
        return None
