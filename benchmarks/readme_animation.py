"""Make the animation of the README: a simulated person, the stand-in that is published, and FireNet on both.

    python benchmarks/readme_animation.py docs/show.gif --firenet firenet_1000.pth.tar

It films two people of `simulate:` with the look `dvs-gesture`, whom the shipped weights have not been trained on.
Without `--firenet`, FireNet's pictures are left out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from eventveil.cli.show import plans_of
from eventveil.stream.owner.show.reel import Reel
from eventveil.stream.owner.show.sheet import animation

SOURCE = "simulate:?seconds=4&subjects=2&look=dvs-gesture"
BEGIN, STEPS = 44, 22  # tenths of a second
MAX_BYTES = 500_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a GIF file")
    parser.add_argument("--firenet", type=Path, metavar="FILE", help="FireNet's weights, firenet_1000.pth.tar")
    options = parser.parse_args()
    with Reel(plans_of({"uri": SOURCE}, [Path("shipped")]), options.firenet) as reel:
        while len(reel.span) < BEGIN + STEPS:
            time.sleep(0.1)
        steps = [step for number in range(BEGIN, BEGIN + STEPS) if (step := reel.step(number)) is not None]
    data = animation(steps, reel.names, side=200, levels=10)
    print(f"{len(data):,} bytes; labels: {', '.join(dict.fromkeys(step.columns[1].label for step in steps))}")
    if len(data) > MAX_BYTES:
        raise SystemExit(f"expected at most {MAX_BYTES:,} bytes: show fewer steps")
    options.out.write_bytes(data)


if __name__ == "__main__":
    main()
