"""Measure how punctual the player is at speed 1, and how fast at speed max, in the pipeline's source stage.

    python benchmarks/replay.py [--seconds 60] [--events 20000000] [--repeats 7]

Punctual: each packet's release is compared with the time of the clock at which it was due. The earliest release counts
as punctual, and the lateness of all others is relative to it; drift is how much later the last sixth of the releases is
than the first, on average. Fast: player and bare reader take turns and read all events of all packets, checked; the
median counts. In both, the player runs in the pipeline's source stage, with a stand-in for the histogrammer. Rates are
per second of processor time, on one core. Punctuality depends on the clock, and is meaningful only on a machine with a
spare core.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from os import getloadavg
from pathlib import Path

import numpy as np
from machine import processor
from recordings_made import DAVIS, DVS128, moving_discs, write, write_aedat4
from rich.console import Console
from rich.table import Table
from source_stage import Sink, play

from eventveil import EventPacket
from eventveil.io import open_events

GOAL_P99_MS, GOAL_SHARE = 2.0, 0.9
SLOWED = 4  # the discs of `moving_discs` give 0.4 million events a second on 128x128; a person gives about 0.1


class Counter(Sink):
    """Counts events and does as little else as possible."""

    def __init__(self) -> None:
        super().__init__()
        self.events = 0

    def push(self, packet: EventPacket) -> tuple[()]:  # noqa: D102
        self.events += len(packet)
        return ()


def lateness_ms(sink: Sink) -> np.ndarray:
    late_s = np.array(sink.arrived_s) - np.array(sink.due_us) / 1e6
    return (late_s - late_s.min()) * 1e3


def punctuality(seconds: float, folder: Path) -> Table:
    discs = moving_discs(round(seconds * 1e5), DVS128)
    write_aedat4(folder / "slow.aedat4", EventPacket(discs.t * SLOWED, discs.x, discs.y, discs.p), "LZ4")
    table = Table("source", "packets", "p50", "p99", "largest", "drift", f"p99 < {GOAL_P99_MS:g} ms")
    for name, uri in (("AEDAT4", str(folder / "slow.aedat4")), ("simulate:", "simulate:")):
        sink = Sink()
        play(sink, uri=uri, speed=1.0, stop_s=seconds)
        late_ms = lateness_ms(sink)
        p50, p99 = np.percentile(late_ms, (50, 99))
        drift = late_ms[-len(late_ms) // 6 :].mean() - late_ms[: len(late_ms) // 6].mean()
        figures = (f"{value:.2f} ms" for value in (p50, p99, late_ms.max(), drift))
        table.add_row(name, str(len(late_ms)), *figures, "reached" if p99 < GOAL_P99_MS else "NOT REACHED")
    return table


def bare_rate(path: Path, events: int) -> float:
    """Return the rate of the reader alone, in million events per second."""
    began = time.thread_time()
    counted = 0
    with open_events(path, sensor=DAVIS) as source:
        for packet in source:  # as is usual: a packet stays in memory until the next one has arrived
            counted += len(packet)
    assert counted == events
    return events / (time.thread_time() - began) / 1e6


def player_rate(path: Path, events: int) -> float:
    """Return the same rate for the stage that plays the file."""
    counter = Counter()
    taken_s = play(counter, uri=str(path), speed="max", sensor=str(DAVIS))
    assert counter.events == events
    return events / taken_s / 1e6


def speed(events: int, repeats: int, folder: Path) -> Table:
    discs = moving_discs(events, DAVIS)
    for compression in ("NONE", "LZ4"):
        write_aedat4(folder / f"{compression}.aedat4", discs, compression)
    write(folder / "records.npy", discs)
    table = Table("file", "bare reader", "player", "share", f"{GOAL_SHARE:.0%} or more")
    for path in sorted(folder.iterdir()):
        # Both take turns, because the machine's speed changes; the first turn warms up.
        runs = [(bare_rate(path, events), player_rate(path, events)) for _ in range(repeats + 1)][1:]
        share = statistics.median(player / bare for bare, player in runs)
        rates = (f"{statistics.median(rates):.0f} Mev/s" for rates in zip(*runs, strict=True))
        table.add_row(path.name, *rates, f"{share:.0%}", "reached" if share >= GOAL_SHARE else "NOT REACHED")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of each source at speed 1")
    parser.add_argument("--events", type=int, default=20_000_000, help="events of each file played at speed max")
    parser.add_argument("--repeats", type=int, default=7, help="runs; their median counts")
    options = parser.parse_args()
    console = Console(soft_wrap=True)
    console.print(f"{processor()}, load {getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        console.print(speed(options.events, options.repeats, Path(folder)))
        console.print(punctuality(options.seconds, Path(folder)))


if __name__ == "__main__":
    main()
