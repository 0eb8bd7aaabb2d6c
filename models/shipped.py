"""The weights that ship with eventveil, trained on simulated people.

docs/method.md and docs/results.md describe what they do, with evidence; their recipe is
configs/train/noisy_channel.yaml.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "shipped"
ANONYMIZER = FOLDER / "anonymizer.safetensors"
GESTURES = FOLDER / "gestures.safetensors"

NAME = "shipped"
"""Names both files on the command line."""
