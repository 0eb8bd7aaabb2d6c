"""Plans and a served page of `eventveil show`, for tests."""

from __future__ import annotations

from contextlib import contextmanager

from eventveil.config import run_settings
from eventveil.stream.clients.web.server import PageServer
from eventveil.stream.owner.show.app import make_app
from eventveil.stream.owner.show.reel import Reel
from eventveil.stream.planning.planner import plan_networks

TOKEN = "q0jRz9L0kQ2mX7uE5b1nVtYcH8s_pA-d"


def plan_of(source, weights, **changes):
    values = {"sources": [{"uri": str(source)}], "anonymize": {"weights": str(weights), "allow_untrained": True}}
    return plan_networks(run_settings(values | changes, name="a test"))


def read_to_the_end(reel):
    """Wait until a reel has read its source."""
    reel._thread.join(200)  # far longer than it takes: a broken test must not hang
    assert not reel.works
    if reel.failure is not None:
        raise reel.failure


@contextmanager
def show_page(plans, out, firenet=None, say=lambda _: None):
    """Serve the page of a source that has been read; yield the reel and the address of the server."""
    with Reel(plans, firenet) as reel:
        read_to_the_end(reel)
        with PageServer(("127.0.0.1", 0), make_app(reel, TOKEN, out, say)) as server:
            yield reel, server.address
