"""Reads the project's pages: their code blocks, the commands in them, their links, and the paths that they mention."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
WALKS = sorted((REPOSITORY / "docs" / "walks").glob("*.md"))
"""Sequences of commands with their output, which tests/system/test_walks.py runs."""
AT_THE_TOP = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = [*AT_THE_TOP, *sorted((REPOSITORY / "docs").glob("*.md"))]
PROGRAMS = ("eventveil", "python", "pip", "make", "sudo")
"""A line of a block without a language is a command if it starts with one of these, or with `scripts/`."""
FENCE = re.compile(r"^(```+)(\w*)\s*$")
SEPARATORS = {"&&", "||", "|", ";"}
ROOMS = "audit|benchmarks|configs|core|deploy|docs|examples|io|models|replay|scripts|stream|tests|training"
SUFFIXES = "py|ipynb|md|png|ya?ml|j2|safetensors"


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        page: its name, relative to the repository.
        line: number of its first line.
        language: as its fence states; "" for a fence without one, and for indented text.
        text: without fences and indentation.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, in order; a pipe and `&&` join two commands."""
        lines = re.sub(r"\\\n", " ", self.text).splitlines()
        marked = self.language in ("sh", "bash", "console")
        kept = [line.removeprefix("$ ") for line in lines if marked or _is_command(line.removeprefix("$ "))]
        return [words for line in kept for words in _split(line)]


def name_of(page: Path) -> str:
    """Its path below the repository."""
    return page.relative_to(REPOSITORY).as_posix()


def blocks() -> Iterator[Block]:
    """All code blocks of all pages."""
    for page in PAGES:
        yield from blocks_of(name_of(page), page.read_text())


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """The code blocks of a page, fenced or indented by four spaces after an empty line."""
    fence, language, start, lines = "", "", 0, [""]
    for number, line in enumerate([*text.splitlines(), ""], 1):
        opening = FENCE.match(line)
        if fence:
            if line.rstrip() == fence:
                yield Block(page, start, language, "\n".join(lines))
                fence, start, lines = "", 0, [""]
            else:
                lines.append(line)
        elif opening:
            fence, language, start, lines = opening[1], opening[2], number + 1, []
        elif start and line and not line.startswith("    "):
            yield Block(page, start, "", "\n".join(lines).rstrip())
            start, lines = 0, [line]
        elif start or (line.startswith("    ") and not lines[-1].strip()):
            start, lines = start or number, [*(lines if start else []), line[4:]]
        else:
            lines = [line]
    if start:
        yield Block(page, start, "", "\n".join(lines).rstrip())


def prose_of(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^(```+).*?^\1\s*$", "", text, flags=re.MULTILINE | re.DOTALL)


def inline_commands(text: str) -> list[str]:
    """The commands of ours that a page mentions in its sentences."""
    spans = re.findall(r"`(eventveil [^`]+)`", prose_of(text))
    return sorted({" ".join(span.replace("\\|", "|").split()) for span in spans})


def links_of(text: str) -> list[str]:
    """The targets of the relative links and pictures of a page."""
    return sorted(set(re.findall(r"\]\((?!\w+:)([^)\s]+)\)", prose_of(text))))


def paths_of(text: str) -> list[str]:
    """The files and scripts of the repository that a page mentions anywhere."""
    mentioned = rf"(?<![\w/.-])(?:(?:{ROOMS})/[\w/.-]+\.(?:{SUFFIXES})|scripts/[\w-]+|deploy/[\w.-]+\w)\b"
    return sorted(set(re.findall(mentioned, text)))


def anchors_of(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose_of(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _is_command(line: str) -> bool:
    return line.startswith("scripts/") or line.split(" ")[0] in PROGRAMS


def _split(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in SEPARATORS:
            words.append(word)
        elif words:
            yield words
            words = []
