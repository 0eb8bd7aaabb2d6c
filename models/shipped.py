"""The weights that come with eventveil, trained on simulated people.

What they do, and on what evidence, is in docs/method.md and docs/results.md; what they were trained by is
configs/train/noisy_channel.yaml.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "shipped"
ANONYMIZER = FOLDER / "anonymizer.safetensors"
GESTURES = FOLDER / "gestures.safetensors"

NAME = "shipped"
"""What stands for both files on the command line."""
