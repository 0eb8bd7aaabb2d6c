"""Plans the public half of a stand-in before anything starts: finds its book, and checks that it fits the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eventveil.errors import BookError, ConfigError
from eventveil.models.book import Book
from eventveil.models.kinds import parse_config
from eventveil.models.rate_limit import bits_per_second, steps_per_second
from eventveil.models.shipped import shown
from eventveil.stream.settings.pipeline import PipelineSettings

if TYPE_CHECKING:
    from eventveil.models.metadata import Metadata

BOOK = "book.safetensors"  # beside the weights, unless the settings name another file


@dataclass(frozen=True, slots=True)
class BookPlan:
    """The book of a stand-in, as the publisher needs it.

    Attributes:
        path: the file.
        digest: SHA-256 of the file.
        labels: what its words show, each once.
        words: number of its words.
        step_us: length of a published window.
        changes_per_second: how often the word may change in any second.
        bits_per_second: the most bits that the words of any second carry.
        draws: whether the rule draws delays or answers, anew in each pass over a recording.
    """

    path: Path
    digest: str
    labels: tuple[str, ...]
    words: int
    step_us: int
    changes_per_second: int
    bits_per_second: float
    draws: bool

    @property
    def summary(self) -> str:
        """What leaves the machine."""
        return (
            f"{shown(self.path)} (SHA-256 {self.digest[:16]}): a stand-in publishes its {self.words} words, with at "
            f"most {self.changes_per_second} changes and {self.bits_per_second:g} bits a second"
        )


def plan_book(settings: PipelineSettings, anonymizer: Metadata) -> BookPlan | None:
    """Read the book of a stand-in and check it; None for another anonymizer.

    Raises:
        BookError: the book cannot be read, is damaged, or is not the one that the weights were trained for.
        ConfigError: a setting does not fit a stand-in, or one that is for a stand-in does not fit the weights.
    """
    if anonymizer.kind != "stand_in":
        for key, is_set in (("anonymize.book", settings.anonymize.book), ("publish.events", settings.publish.events)):
            if is_set:
                raise ConfigError(
                    f"{key}: only a stand-in publishes from a book, and {shown(settings.anonymize.weights)} is of "
                    f"kind {anonymizer.kind}; leave it out"
                )
        return None
    if settings.classify.weights is not None:
        raise ConfigError(
            f"classify.weights: {shown(settings.classify.weights)}: a stand-in says itself which gesture it shows; "
            "leave the classifier out"
        )
    weights = settings.anonymize.weights
    assert weights is not None
    path = settings.anonymize.book or weights.with_name(BOOK)
    if settings.anonymize.book is None and not path.exists():
        raise BookError(
            f"{path}: {shown(weights)} is a stand-in and publishes from its book, which is not beside it; give "
            f"--book FILE, the book with SHA-256 {anonymizer.config['book']}"
        )
    book = Book.read(path)
    _check_fit(path, book, weights, anonymizer, settings)
    rule = parse_config(anonymizer.kind, anonymizer.config)
    changes = rule.changes_per_second
    return BookPlan(
        path=path,
        digest=book.digest,
        labels=tuple(dict.fromkeys(word.label for word in book.words)),
        words=len(book.words),
        step_us=book.step_us,
        changes_per_second=changes,
        bits_per_second=bits_per_second(len(book.words), changes, steps_per_second(book.step_us)),
        draws=rule.delay > 0 or rule.epsilon is not None,
    )


def read_planned(plan: BookPlan) -> Book:
    """Read the book once more, in the process that publishes from it.

    Raises:
        BookError: it has changed since the pipeline was planned.
    """
    book = Book.read(plan.path)
    if book.digest != plan.digest:
        raise BookError(f"{plan.path}: the file has changed since the pipeline checked it; start again")
    return book


def _check_fit(path: Path, book: Book, weights: Path, anonymizer: Metadata, settings: PipelineSettings) -> None:
    check_words(path, book, weights, anonymizer)
    window = settings.window
    hop = window.hop or anonymizer.hop
    if anonymizer.bin_us is None or hop is None or (window.mode or anonymizer.mode) != "windows":
        raise ConfigError("window.mode: a stand-in takes windows, not whole recordings; leave it out")
    if anonymizer.bin_us * hop != book.step_us:
        raise ConfigError(
            f"window.hop: {hop} bins of {anonymizer.bin_us} us are not the step of {path}, {book.step_us} us; leave it "
            "out, or choose weights that fit the book"
        )


def check_words(path: Path, book: Book, weights: Path, anonymizer: Metadata) -> None:
    """Check that a book is the one that a stand-in was trained for.

    Raises:
        BookError: it is another one.
    """
    config = anonymizer.config
    if book.digest != config["book"]:
        raise BookError(
            f"{shown(path)}: {shown(weights)} was trained for the book with SHA-256 {config['book']}, and this one has "
            f"{book.digest}: refused; give that book with --book FILE"
        )
    if len(book.words) != config["words"]:
        raise BookError(
            f"{path}: has {len(book.words)} words, and {shown(weights)} chooses from {config['words']}: refused; fetch "
            "both files again"
        )
