"""Measure what a seal costs to set: HMAC-SHA256, as the pipeline uses it, beside keyed BLAKE2b, BLAKE2s, BLAKE3.

    python benchmarks/seal.py [--times 200]

Measured are one anonymized window of 10x128x128 float32 (655 kB) and a word of a stand-in (64 bytes). BLAKE3 is
measured where its package is installed; hashlib has none.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from importlib import import_module
from statistics import median

from machine import processor
from rich.console import Console
from rich.table import Table

SIZES = {"window, 655,360 bytes": 655_360, "word, 64 bytes": 64}


def algorithms() -> dict[str, Callable[[bytes, bytes], bytes]]:
    """Return a function of key and values for each algorithm."""
    found: dict[str, Callable[[bytes, bytes], bytes]] = {
        "HMAC-SHA256": lambda key, values: hmac.digest(key, values, "sha256"),
        "BLAKE2b, keyed": lambda key, values: hashlib.blake2b(values, key=key, digest_size=32).digest(),
        "BLAKE2s, keyed": lambda key, values: hashlib.blake2s(values, key=key, digest_size=32).digest(),
    }
    try:
        blake3 = import_module("blake3").blake3
    except ImportError:
        return found
    return found | {"BLAKE3, keyed": lambda key, values: blake3(values, key=key).digest()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what a seal costs.")
    parser.add_argument("--times", type=int, default=200, help="how often each is computed")
    times = parser.parse_args().times
    key = secrets.token_bytes(32)
    table = Table("algorithm", *SIZES, title=f"microseconds, median of {times}; {processor()}")
    for name, seal in algorithms().items():
        cells = []
        for size in SIZES.values():
            values, taken = secrets.token_bytes(size), []
            for _ in range(times):
                began = time.perf_counter()
                seal(key, values)
                taken.append(time.perf_counter() - began)
            cells.append(f"{1e6 * median(taken):.1f}")
        table.add_row(name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
