"""Three hundred invalid inputs for each reader of untrusted bytes: only our own errors, little memory, and an end.

scripts/fuzz-nightly feeds each a hundred thousand. Its findings are kept in tests/system/test_fuzz_findings.py.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import tempfile
from pathlib import Path
from random import Random

import pytest
from fuzz_targets import TARGETS
from mutations import mutate

from eventveil.errors import EventVeilError

INPUTS = 300
pytestmark = pytest.mark.timeout(600)  # seconds alone, minutes on a busy machine
MIB = 1 << 20


@pytest.fixture(scope="module")
def places():
    """A folder for each target, in memory if possible, and its seeds; made once."""
    folders = {}
    memory = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="ev-fuzz-", dir=memory if os.access(memory, os.W_OK) else None))

    def place(target):
        if target.name not in folders:
            folder = root / str(len(folders))
            folder.mkdir()
            folders[target.name] = folder, target.seeds(folder)
        return folders[target.name]

    yield place
    shutil.rmtree(root)


@contextlib.contextmanager
def bounded():
    """Allow no more than 512 MiB of additional memory."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if Path("/proc/self/statm").exists():
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 512 * MIB, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_good_bytes_are_taken(target, places):
    folder, seeds = places(target)
    for seed in seeds:
        target.feed(seed, folder)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_wrong_bytes_raise_errors_of_ours(target, places):
    folder, seeds = places(target)

    with bounded():
        for number in range(INPUTS):
            data = mutate(seeds, Random(number))
            try:
                target.feed(data, folder)
            except EventVeilError:
                pass
            except Exception as error:
                raise AssertionError(f"input {number} of {target.name}: {data[:2000]!r}") from error
