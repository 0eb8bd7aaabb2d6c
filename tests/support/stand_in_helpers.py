"""A small stand-in for tests: a book of four words, weights that choose among them, and a recording.

The network is untrained: which word it chooses means nothing, but depends on what it sees.
"""

from __future__ import annotations

import torch
from book_helpers import clip
from pipeline_setup import Kit, write_recording

from eventveil import Sensor
from eventveil.models.book import Book, Word
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata
from eventveil.models.weights import save_weights
from eventveil.stream.planning.books import BOOK

STEP_US, STEPS = 100_000, 6
BOOK_SENSOR = Sensor(24, 20)
WORDS = (
    Word(label="hand clapping", presence=True, clip=0),
    Word(label="right hand wave", presence=True, clip=1, phase=2),
    Word(label="no gesture", presence=True, clip=2),
    Word(label="nobody", presence=False, clip=3),
)
WINDOW = {"bins": 10, "bin_us": STEP_US, "hop": 1, "size": (32, 32)}
RULE = {"transition": 1.0, "evidence": 1.0, "threshold": 0.01, "changes_per_second": 2}  # no memory


def stand_in_book() -> Book:
    """Return a book whose words have very different numbers of events; "nobody" has none."""
    length_us = STEPS * STEP_US
    clips = [
        clip(seed, events=events, length_us=length_us, sensor=BOOK_SENSOR)
        for seed, events in enumerate((400, 90, 12, 0))
    ]
    return Book.compose(clips, WORDS, sensor=BOOK_SENSOR, steps=STEPS, step_us=STEP_US)


def stand_in_model(book: Book, **config):
    """Return an untrained network whose words differ from window to window."""
    settings = {"channels": 20, "words": len(book.words), "book": book.digest, "width": 4, "quiet": (3, 2)}
    model = initialise("stand_in", settings | RULE | config, seed=38)
    *convolutions, layer = (module for module in model.layers if hasattr(module, "weight") and module.weight.ndim > 1)
    for convolution in convolutions:
        convolution.weight.data *= 6**0.5  # keeps the variance from layer to layer
    layer.weight.data *= 100
    # Between sparse and dense windows every word has its turn.
    shares = torch.logspace(-3, 0.3, 20).reshape(20, 1, 1, 1).expand(20, 20, 32, 32)
    with torch.inference_mode():
        layer.bias.data = -model(torch.poisson(shares, generator=torch.Generator().manual_seed(0))).mean(0)
    return model


def make_stand_in_kit(folder, packets, **config) -> Kit:
    """Write a recording of 64x64 pixels, the weights, and the book beside them."""
    kit = Kit(folder / "seen.aedat4", folder / "stand_in.safetensors")
    write_recording(kit.recording, packets)
    book = stand_in_book()
    book.write(book_of(kit))
    model = stand_in_model(book, **config)
    save_weights(kit.anonymizer, model, Metadata.of(model, role="anonymizer", trained=False, **WINDOW))
    return kit


def book_of(kit):
    """Return the path of the book."""
    return kit.anonymizer.with_name(BOOK)
