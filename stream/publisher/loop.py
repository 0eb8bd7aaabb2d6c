"""Runs the publisher between its two sockets: receive, publish when it is due, serve the subscribers."""

from __future__ import annotations

import time
from typing import Any

import zmq

from eventveil.stream.publisher.public_endpoint import PublicEndpoint
from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.publisher.subscriptions import SubscriptionTracker
from eventveil.stream.runtime.accounting import StageCounters
from eventveil.stream.runtime.relay import POLL_MS, receive
from eventveil.stream.runtime.reporting import StageReporter
from eventveil.stream.runtime.signals import Signals
from eventveil.stream.runtime.stage import Sink

BATCH = 16  # messages received before subscribers are served again
NEAR_S = 0.005  # no message is received that shortly before a release: the work on it would delay the release
STOPPED_FLUSH_MS = 300  # how long subscribers may take to receive the rest after a stop or a failure
ENDED_FLUSH_MS = 10_000  # and after the end of all streams


class PublishLoop:
    """Publishes until every stream has ended or the pipeline is aborted.

    Args:
        publisher: decides what is published.
        endpoint: the public socket, already bound.
        receiver: the socket that messages come from.
        counters: counters of the stage; they also determine how many streams have to end.
    """

    def __init__(
        self, publisher: Publisher, endpoint: PublicEndpoint, receiver: zmq.Socket[bytes], counters: StageCounters
    ) -> None:
        self._publisher = publisher
        self._endpoint = endpoint
        self._receiver = receiver
        self._counters = counters
        self._subscriptions = SubscriptionTracker(endpoint.socket, endpoint.connections)

    def figures(self) -> dict[str, Any]:
        """Counts, drops and values so far, of the publisher, the public endpoint and its subscribers."""
        figures = self._publisher.figures()
        values = self._publisher.values() | self._subscriptions.values()
        return figures | {"counts": figures["counts"] | self._endpoint.counts(), "values": values}

    def wait_for_subscribers(self, wanted: int, signals: Signals) -> None:
        """Wait until this many subscribers are connected, or the pipeline is to stop."""
        while self._subscriptions.count() < wanted and not (signals.stop.is_set() or signals.aborted()):
            self._endpoint.socket.poll(POLL_MS)
            self._counters.pulse()
            self._endpoint.service(self._subscriptions.take_abusive())

    def run(self, signals: Signals, report: StageReporter) -> None:
        """Publish until every stream has ended or the pipeline is aborted.

        Raises:
            BoundaryError: a message did not carry an anonymized window: nothing more is published.
        """
        try:
            while (self._counters.running() or self._publisher.holds_messages) and not signals.aborted():
                self._publisher.certify()
                if signals.stop.is_set():
                    self._publisher.flush()
                self._release()
                self._receive()
                self._subscriptions.count()
                self._endpoint.service(self._subscriptions.take_abusive())
                report.beat()
        finally:  # subscribers learn of the end, whatever was refused here
            running = self._counters.running()
            self._publisher.announce("failed" if running or self._counters.failed() else "ended")
            # After a stop the user is waiting; otherwise even a slow subscriber may receive the end of the recording.
            hurry = running or signals.stop.is_set()
            self._endpoint.socket.linger = STOPPED_FLUSH_MS if hurry else ENDED_FLUSH_MS

    def _release(self) -> None:
        """Publish what is due now or in a moment, exactly when it is due."""
        left_s = self._publisher.until_release_s
        if left_s is not None and left_s < NEAR_S:
            time.sleep(left_s)
            self._publisher.release()

    def _receive(self) -> None:
        """Receive messages until a release is near, but at least one if any has come."""
        left_s = self._publisher.until_release_s
        wait_s = POLL_MS / 1000 if left_s is None else min(POLL_MS / 1000, max(0.0, left_s - NEAR_S))
        if self._subscriptions.unread:
            wait_s = 0.0
        if not self._receiver.poll(int(wait_s * 1000)):
            return
        for _ in range(BATCH):
            if not _deliver(self._receiver, self._publisher):
                return
            left_s = self._publisher.until_release_s
            if left_s is not None and left_s < NEAR_S:
                return


def _deliver(receiver: zmq.Socket[bytes], sink: Sink) -> bool:
    """Pass the next message on; return False if none has come."""
    messages = receive(receiver, 1)
    for message in messages:
        sink.take(message)
    return bool(messages)
