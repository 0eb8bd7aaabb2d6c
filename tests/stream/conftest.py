"""Fixtures of the tests of the pipeline."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    """A ZeroMQ context that ends with the test."""
    with zmq.Context() as made:
        yield made
