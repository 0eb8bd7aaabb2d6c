"""TCP keepalive, which both ends of a connection use to notice that the other end is gone."""

from __future__ import annotations

import zmq

IDLE_S, INTERVAL_S, PROBES = 5, 1, 5  # after this long in silence, a probe each second; after five, the peer is gone


def enable_keepalive(socket: zmq.Socket[bytes]) -> None:
    """Let the kernel detect a peer that vanished: a cut cable, a machine without power.

    A subscriber sends nothing, so without probes it would wait on a dead connection forever.
    """
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle, socket.tcp_keepalive_intvl, socket.tcp_keepalive_cnt = IDLE_S, INTERVAL_S, PROBES
