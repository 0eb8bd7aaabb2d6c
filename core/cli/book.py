"""`eventveil book`: make, show and check books of the stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from eventveil.cli.options import (
    ForceOption,
    JsonOption,
    OutFileOption,
    check_out,
    print_json,
    say,
    set_option,
    stdout,
)
from eventveil.models.shipped import book_of

if TYPE_CHECKING:
    from eventveil.models.book import Book

MAX_WORDS_SHOWN = 64

BookArgument = Annotated[
    Path,
    typer.Argument(parser=book_of, metavar="FILE|shipped", help="A book that `book make` wrote, or the shipped one."),
]


def register(app: typer.Typer) -> None:
    """Add the `book` commands to the program."""
    book = typer.Typer(
        no_args_is_help=True,
        help="Make, show and check books of the stand-in. A book is a public file of words: clips of events of a "
        "simulated person. With a stand-in, only the number of a word leaves the private half of the pipeline, and the "
        "publisher sends the clip, so every subscriber who has the book can verify what it receives "
        "(docs/book-format.md).",
    )
    book.command("make")(make)
    book.command("show")(show)
    book.command("check")(check)
    app.add_typer(book, name="book")


def make(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML file, or the name of one in configs/book/, such as gestures.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write.")],
    overrides: Annotated[list[str] | None, set_option("steps=20")] = None,
    force: ForceOption = False,
    json_: JsonOption = False,
) -> None:
    """Film the clips of a simulated person, and write them with their words as a book.

    The same configuration gives the same file, to the byte, on every machine. Filming takes a few seconds per clip.

    Example:  eventveil book make gestures --out book.safetensors
    """
    from eventveil.cli.progress import DelayedProgress
    from eventveil.config import checked, find_config, read_yaml
    from eventveil.training.book.make import BookSettings, compose_book, film_clips, lay_out_book

    check_out(out, force=force)
    path = find_config(config, "book")
    values = read_yaml(path, BookSettings)
    settings = checked(BookSettings, values, overrides or (), name=str(path), example="steps=20")
    layout = lay_out_book(settings)
    clips = []
    with DelayedProgress("clips", len(layout.clips)) as progress:
        for clip in film_clips(settings, layout):
            clips.append(clip)
            progress.count()
    book = compose_book(settings, layout, clips)
    book.write(out, replace=force)
    if json_:
        print_json(_summary(out, book))
    else:
        say(f"{out}: {len(book.words)} words, {book.clips} clips, at most {book.bits:.2f} bits a decision")
        say(f"{out}: SHA-256 {book.digest}")


def show(file: BookArgument, out: OutFileOption = None, force: ForceOption = False, json_: JsonOption = False) -> None:
    """Print the words of a book, and draw its clips with --out.

    The picture has a row for each clip: four moments of 30 ms, ON white and OFF black, and all events.

    Example:  eventveil book show book.safetensors --out book.png
    """
    from eventveil.models.book import Book

    if out is not None:
        check_out(out, force=force)
    book = Book.read(file)
    if out is not None:
        from eventveil.training.book.sheet import draw_book, write_picture

        write_picture(out, draw_book(book), replace=force)
    if json_:
        print_json(_summary(file, book) | {"words": [word.model_dump() for word in book.words]})
        return
    _print(file, book)
    table = Table(
        "word", Column("label", overflow="fold"), "presence", "clip", "at", "tempo", "phase", "size", "amplitude"
    )
    for number, word in enumerate(book.words[:MAX_WORDS_SHOWN]):
        table.add_row(
            str(number),
            escape(word.label),
            "yes" if word.presence else "no",
            str(word.clip),
            f"{word.dx:+d},{word.dy:+d}",
            "/".join(map(str, word.tempo)),
            str(word.phase),
            f"{word.size:g}",
            f"{word.amplitude:g}",
        )
    stdout.print(table)
    if len(book.words) > MAX_WORDS_SHOWN:
        stdout.print(f"and {len(book.words) - MAX_WORDS_SHOWN} more words; --json lists all")


def check(file: BookArgument, json_: JsonOption = False) -> None:
    """Check a book: every event, word and setting. Exit status 0: it is valid. 2: it is not.

    The digest is the SHA-256 of the file: compare it with that of the publisher, or of the weights.

    Example:  eventveil book check book.safetensors
    """
    from eventveil.models.book import Book

    book = Book.read(file)
    if json_:
        print_json(_summary(file, book))
    else:
        _print(file, book)


def _summary(file: Path, book: Book) -> dict[str, Any]:
    metadata = book.metadata
    return {
        "file": str(file),
        "digest": book.digest,
        "words": len(book.words),
        "labels": list(dict.fromkeys(word.label for word in book.words)),
        "bits": round(book.bits, 6),
        "clips": book.clips,
        "seconds": metadata.steps * metadata.step_us / 1e6,
        "steps": metadata.steps,
        "step_us": metadata.step_us,
        "bins": metadata.bins,
        "sensor": str(book.sensor),
        "events": len(book.t),
        "bytes": file.stat().st_size,
        "seed": metadata.seed,
        "note": metadata.note,
    }


def _print(file: Path, book: Book) -> None:
    facts = _summary(file, book)
    stdout.print(f"{escape(str(file))}: a valid book", highlight=False)
    stdout.print(f"  SHA-256   {facts['digest']}")
    stdout.print(f"  words     {facts['words']}: at most {book.bits:.2f} bits a decision")
    stdout.print(f"  labels    {escape(', '.join(facts['labels']))}")
    stdout.print(
        f"  clips     {facts['clips']} of {facts['seconds']:g} s, {facts['events']:,} events, {facts['bytes']:,} bytes"
    )
    stdout.print(f"  windows   {facts['bins']} bins in {facts['step_us']:,} µs, {facts['sensor']}")
    if facts["note"]:
        stdout.print(f"  note      {escape(facts['note'])}")
