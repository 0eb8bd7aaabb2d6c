"""The receiving end: messages, checked, with what is missing between them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import zmq

from eventveil.errors import ConfigError
from eventveil.stream.protocol.certificate import read_key
from eventveil.stream.protocol.keys import KeyPair, read_public, read_secret
from eventveil.stream.protocol.wire import (
    CERTIFICATE_STATE,
    GESTURE,
    HEADERS,
    STATE,
    WINDOW,
    Message,
    StreamHeader,
    decode,
)
from eventveil.stream.runtime.accounting import CRASH
from eventveil.stream.subscriber.certificate_filter import CertificateFilter
from eventveil.stream.subscriber.connection_monitor import ConnectionMonitor
from eventveil.stream.subscriber.subscriber_socket import connect, subscriber_socket

NETWORK = "network"
"""Reason for what was published and did not arrive."""
WITHHELD = "certificate"
"""Reason for what arrived before the certificate that was asked for."""
POLL_MS = 100


def subscribe(
    endpoint: str,
    topics: Sequence[str] = (WINDOW, GESTURE),
    *,
    server_key: Path | str | None = None,
    key: Path | str | None = None,
    require_certificate: Path | str | None = None,
    queue: int = 1000,
    timeout_s: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Message]:
    """Yield what a publisher publishes, until it says that the line has ended.

    A publisher that is not there yet is waited for. Each message carries in `missing` what is missing before it, by
    reason. The messages that say what happened to the line (topic `state`) come too, whatever the topics.

    Args:
        endpoint: `tcp://HOST:PORT` or `ipc://PATH`.
        topics: `window`, `gesture` or both.
        server_key: file with the public key of the one publisher to listen to; with it everything is encrypted.
        key: file with your own secret key, which that publisher has on its list. Both, or neither.
        require_certificate: file with the Ed25519 public key of whose audits are trusted. Then only messages about
            weights that passed such an audit are handed out; those that come before the certificate are not, and are
            counted as `certificate`.
        queue: messages kept for a slow caller; more are lost, and counted as `network`.
        timeout_s: end after so long without a message; None waits for ever.
        stop: asked ten times a second; True ends the iteration.

    Raises:
        ConfigError: the endpoint or a topic is not one, or one of the two keys is missing.
        AccessError: a key file is wrong or open to others; or, within seconds, the publisher refuses the key, is not
            the one of `server_key`, or only one of the two ends uses keys. One that is not there is waited for.
        AuditError: the key cannot be read; or, within seconds, what comes has no certificate of that key, or one that
            is about other weights, or that they did not pass.
        WireError: a message is not as docs/wire-format.md says; iterate anew to go on.
    """
    unknown = set(topics) - set(HEADERS)
    if unknown:
        raise ConfigError(f"unknown topics {sorted(unknown)}; known: {', '.join(HEADERS)}")
    # `state` comes last: the publisher counts a subscriber when its first subscription arrives.
    wanted = tuple(dict.fromkeys((*topics, STATE)))
    gaps = Gaps()
    doorkeeper = None if require_certificate is None else CertificateFilter(read_key(Path(require_certificate)))
    certificate: str | None = None
    identity = _identity(server_key, key)
    with (
        zmq.Context() as context,
        subscriber_socket(wanted, queue, context, identity) as socket,
        ConnectionMonitor(socket, endpoint, keys=identity is not None) as handshake,
    ):
        connect(socket, endpoint)
        last = time.monotonic()
        while not stop():
            if doorkeeper is not None:
                doorkeeper.check()
            if not socket.poll(POLL_MS):
                handshake.check()
                if timeout_s is not None and time.monotonic() - last > timeout_s:
                    return
                continue
            message = decode([frame.buffer for frame in socket.recv_multipart(copy=False)])
            if doorkeeper is not None and not doorkeeper.accepts(message):
                gaps.withhold(message)
                continue
            if message.topic == STATE and message.header.state == CERTIFICATE_STATE:
                if message.header.certificate != certificate:  # the others say it again for those who came late
                    certificate = message.header.certificate
                    yield message
                continue
            last = time.monotonic()
            yield gaps.note(message)
            if message.topic == STATE and message.header.stream is None:
                return


def _identity(server_key: Path | str | None, key: Path | str | None) -> tuple[bytes, KeyPair] | None:
    if server_key is None and key is None:
        return None
    if server_key is None or key is None:
        raise ConfigError(
            "keys: give both, the publisher's public key (server_key) and your own secret one (key), or neither"
        )
    return read_public(Path(server_key)).key, read_secret(Path(key))


class Gaps:
    """Explains the numbers that are missing between one message and the next of its topic and stream.

    In another run numbers begin anew. In another life of the publisher they go on, and what it does not know of was
    under way when the one before it died.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], StreamHeader] = {}
        self._withheld: dict[tuple[str, str], Counter[str]] = {}

    def withhold(self, message: Message) -> None:
        """Count a message that is not handed out as missing before the next one."""
        missing = Counter(self.note(message).missing)
        missing[WITHHELD] += 1
        self._withheld[message.topic, message.header.stream] = missing

    def note(self, message: Message) -> Message:
        """Return the message with `missing` filled in; `network` is what no reason explains."""
        header = message.header
        if not isinstance(header, StreamHeader):
            return message
        withheld = self._withheld.pop((message.topic, header.stream), Counter())
        before = self._last.get((message.topic, header.stream))
        self._last[message.topic, header.stream] = header
        if before is None or header.run != before.run or header.seq <= before.seq:
            return replace(message, missing=dict(withheld))
        missing = Counter(header.lost) - Counter(before.lost)
        unexplained = header.seq - before.seq - 1 - missing.total()
        if unexplained > 0:
            missing[NETWORK if header.life == before.life else CRASH] += unexplained
        return replace(message, missing=dict(missing + withheld))
