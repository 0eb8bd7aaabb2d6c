"""Tells systemd that a service has started, is alive, and is about to stop: the datagrams of sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import socket

SOCKET = "NOTIFY_SOCKET"  # names systemd's socket in the environment of a service of Type=notify


class ServiceManager:
    """Sends the state of this process to systemd. Does nothing if systemd did not start the process.

    A datagram never blocks: a lost one is repeated a second later, and if all are lost, the watchdog ends the service.
    """

    def __init__(self) -> None:
        name = os.environ.get(SOCKET, "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name  # @: in Linux's abstract namespace
        self._ready = False

    def alive(self) -> None:
        """Say that the service is alive, and the first time, that it has started. WatchdogSec= expects this."""
        self._ready |= self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the service is about to end as it should."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> bool:
        if not self._address:
            return False
        text = state if self._ready else f"READY=1\n{state}"  # to systemd, an end before READY=1 is a failure
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(text.encode(), socket.MSG_DONTWAIT, self._address)
            return True
        return False
