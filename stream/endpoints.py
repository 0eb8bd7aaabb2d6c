"""Which addresses only this machine can reach. The rule that decides whether publishing takes keys."""

from __future__ import annotations

import ipaddress


def is_local(endpoint: str) -> bool:
    """Whether nobody outside this machine can connect: `ipc://`, or `tcp://` on a loopback address.

    A name of an interface, such as `lo`, says nothing certain about its addresses, and counts as public.
    """
    if endpoint.startswith("ipc://"):
        return True
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
