"""The weights that ship with eventveil, trained on simulated people, and the names that stand for them.

docs/method.md and docs/results.md describe what they do, with evidence; their recipes are in configs/train/.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "shipped"
STAND_IN = FOLDER / "stand_in.safetensors"
BOOK = FOLDER / "book.safetensors"
NOISY_CHANNEL = FOLDER / "noisy_channel.safetensors"
NOISY_CHANNEL_GESTURES = FOLDER / "noisy_channel_gestures.safetensors"
ANONYNOISE = FOLDER / "anonynoise.safetensors"
ANONYNOISE_GESTURES = FOLDER / "anonynoise_gestures.safetensors"
EVENT_REID = FOLDER / "event_reid.safetensors"
PROJECT_KEY = FOLDER / "project.pem"
"""The public half of the key that signs the certificate of these weights; the private half is in no repository."""
CERTIFICATE = FOLDER / "certificate.json"
"""The certificate of these weights, with its report beside it, once `scripts/certify-shipped` has put them there."""

SETS = {
    "shipped": (STAND_IN,),  # its book lies beside it
    "noisy-channel": (NOISY_CHANNEL, NOISY_CHANNEL_GESTURES),
    "anonynoise": (ANONYNOISE, ANONYNOISE_GESTURES),  # for comparison: attackers recognise people (docs/papers.md)
    "event-reid": (EVENT_REID,),  # for comparison, too: it keeps who somebody is, and has no gestures
}
"""What may stand in place of weights files: names, and the files of each, the anonymizer first."""


def is_name(path: Path) -> bool:
    """Return whether a path is the name of a set that ships with eventveil, and not a file.

    >>> is_name(Path("noisy-channel")), is_name(Path("noisy-channel.safetensors"))
    (True, False)
    """
    return str(path) in SETS and not path.exists()


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files of the set that a path names, the anonymizer first, or the path itself.

    >>> [file.name for file in files_of(Path("noisy-channel"))]
    ['noisy_channel.safetensors', 'noisy_channel_gestures.safetensors']
    """
    return SETS[str(path)] if is_name(path) else (path,)


def book_of(text: str) -> Path:
    """Return the book that ships with eventveil for `shipped`, and the path of any other file.

    >>> book_of("shipped").name, book_of("mine.safetensors").name
    ('book.safetensors', 'mine.safetensors')
    """
    path = Path(text)
    return BOOK if is_name(path) and STAND_IN in files_of(path) else path


def key_of(text: str) -> Path:
    """Return the public key of the project for `shipped`, and the path of any other file.

    >>> key_of("shipped").name, key_of("mine.pem").name
    ('project.pem', 'mine.pem')
    """
    path = Path(text)
    return PROJECT_KEY if is_name(path) else path


def shown(path: Path | None) -> str:
    """Return a path for a message: the name of what ships with eventveil in place of its long path.

    >>> shown(STAND_IN), shown(BOOK), shown(Path("mine.safetensors"))
    ('shipped', 'the shipped book', 'mine.safetensors')
    """
    for name, paths in SETS.items():
        if path in paths:
            return name
    return {BOOK: "the shipped book", CERTIFICATE: "the shipped certificate"}.get(path or Path(), str(path))
