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


def certificate_of(weights: Path) -> Path:
    """Return where the certificate of weights is expected; it need not exist.

    It lies beside the weights. What ships shares a folder; there, it has the name of its weights in front.

    >>> certificate_of(STAND_IN).name, certificate_of(Path("mine/weights.safetensors")).name
    ('stand_in_certificate.json', 'certificate.json')
    """
    return weights.with_name(f"{weights.stem}_certificate.json" if ships(weights) else "certificate.json")


def ships(path: Path) -> bool:
    """Return whether a file lies in the folder of what ships with eventveil."""
    return path.parent.resolve() == FOLDER


def shown(path: Path | None) -> str:
    """Return a path for a message: the name of what ships with eventveil in place of its long path.

    >>> shown(STAND_IN), shown(BOOK), shown(Path("mine.safetensors"))
    ('shipped', 'the shipped book', 'mine.safetensors')
    """
    if path == BOOK:
        return "the shipped book"
    for name, paths in SETS.items():
        if path in paths:
            return name
        if path == certificate_of(paths[0]):
            return "the shipped certificate"
    return str(path)
