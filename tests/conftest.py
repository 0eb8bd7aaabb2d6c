"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import hypothesis
import pytest

# The first call of a numba kernel compiles it: far slower than any deadline, and not what is tested.
hypothesis.settings.register_profile("eventveil", deadline=None, derandomize=True, max_examples=30)
# For kernels as plain Python: enough to reach every line, which scripts/test checks.
hypothesis.settings.register_profile("few", hypothesis.settings.get_profile("eventveil"), max_examples=8)
# For scripts/nightly.
hypothesis.settings.register_profile("many", hypothesis.settings.get_profile("eventveil"), max_examples=300)
hypothesis.settings.load_profile("eventveil")

# A shell starts background jobs with SIGINT ignored. The programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

gc.disable()  # until `pytest_collection_finish`: the imports of all tests make it slow, and leave no garbage

LONGEST = ("training", "system", "audit", "cli", "stream")
"""The folders with the longest tests. They come first, or one worker is still busy when the others have ended."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by folder; within a folder they keep their order, which all workers must agree on."""
    ranks = {folder: rank for rank, folder in enumerate(LONGEST)}
    here = Path(__file__).parent
    items.sort(key=lambda item: ranks.get(item.path.relative_to(here).parts[0], len(ranks)))


def pytest_collection_finish() -> None:
    """Let garbage collections leave out what the test modules have imported: each would take half a second."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; tests that need it skip where it is not given."""
    folder = os.environ.get("EVENTVEIL_REAL_DATA")
    if not folder:
        pytest.skip("EVENTVEIL_REAL_DATA does not name a folder of real recordings")
    return Path(folder).resolve()
