"""Put the pages of the site together: README, docs/, and the references made from code. `make docs` calls it.

    python docs/build_site.py build/site/pages

Links to pages stay links; links to source files, which the site does not hold, become their text.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eventveil.cli import app
from eventveil.cli.help import program_of

REPOSITORY = Path(__file__).resolve().parents[1]
AT_THE_TOP = {name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")} | {"README.md": "index.md"}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)\s#]*)(#[^)\s]*)?\)")
PYTHON = {
    "eventveil": "Events, packets and windows",
    "eventveil.io": "Recordings and cameras",
    "eventveil.stream": "Subscribe",
    "eventveil.stream.histogram": "Windows of events",
    "eventveil.models": "Networks, weights and books",
    "eventveil.replay.datasets": "Datasets",
}


def assemble(target: Path) -> None:
    """Write all pages of the site into a folder, which is made anew."""
    shutil.rmtree(target, ignore_errors=True)
    pages = places()
    for source, place in pages.items():
        path = target / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(with_links(source.read_text(), source, pages))
    pictures = (path for ending in ("gif", "png", "svg") for path in (REPOSITORY / "docs").glob(f"*.{ending}"))
    for picture in sorted(pictures):
        shutil.copy(picture, target / picture.name)
    (target / "reference").mkdir()
    (target / "reference" / "cli.md").write_text(cli_reference())
    (target / "reference" / "configuration.md").write_text(configuration_reference())
    (target / "reference" / "python.md").write_text(python_reference())


def places() -> dict[Path, str]:
    """Return where each page goes, by its path."""
    folder = REPOSITORY / "docs"
    documents = {path: path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.md"))}
    return {REPOSITORY / name: place for name, place in AT_THE_TOP.items()} | documents


def with_links(text: str, source: Path, pages: dict[Path, str]) -> str:
    """Return a page with its links as they are on the site."""

    def replaced(match: re.Match[str]) -> str:
        picture, label, target, anchor = match[1], match[2], match[3].replace("\\_", "_"), match[4] or ""
        path = (source.parent / target).resolve()
        place = pages.get(path, path.name if picture else None)
        if place is None:
            return label
        return f"{picture}[{label}]({os.path.relpath(place, Path(pages[source]).parent)}{anchor})"

    return LINK.sub(replaced, text)


def cli_reference() -> str:
    """Return the reference of all commands, from the program itself."""
    lines = [
        "# Commands",
        "",
        "Every command takes `--help`. `eventveil --quiet` and `eventveil -v` come before a command.",
        "",
    ]
    for name, command in commands(program_of(app)):
        lines += [f"## eventveil {name}", "", paragraphs(command.help or ""), ""]
        rows = [row(parameter) for parameter in command.params]
        lines += ["| | |", "|---|---|", *(f"| {left} | {right} |" for left, right in rows), ""]
    return "\n".join(lines)


def commands(command: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command with its name; groups that are commands themselves, too."""
    inner = getattr(command, "commands", {})
    if not inner or (command.invoke_without_command and before):
        yield " ".join(before), command
    for name, below in inner.items():
        yield from commands(below, (*before, name))


def row(parameter: Any) -> tuple[str, str]:
    """Return an option or an argument with its value, and its help."""
    names = ", ".join(f"`{name}`" for name in parameter.opts if name.startswith("-"))
    value = parameter.metavar or ("" if getattr(parameter, "is_flag", False) else parameter.name.upper())
    shown = " ".join(part for part in (names, f"`{value}`" if value else "") if part)
    return shown.replace("|", "\\|"), " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")


def paragraphs(text: str) -> str:
    """Return a help text, its examples as code."""
    blocks = []
    for block in text.strip().split("\n\n"):
        flat = " ".join(block.split())
        is_command = flat.startswith(("eventveil ", "sudo ", "ssh "))
        blocks.append(f"```sh\n{flat}\n```" if is_command else flat)
    return "\n\n".join(blocks)


def configuration_reference() -> str:
    """Return the explained configurations, one after the other."""
    folder = REPOSITORY / "configs"
    files = [folder / "live.yaml", *sorted(folder.glob("*/*.yaml"))]
    parts = [f"## {file.relative_to(REPOSITORY)}\n\n```yaml\n{file.read_text().rstrip()}\n```\n" for file in files]
    return "# Configuration\n\nEvery key is explained in place; `--set KEY=VALUE` changes one.\n\n" + "\n".join(parts)


def python_reference() -> str:
    """Return a page that mkdocstrings fills with the public names."""
    parts = [f"## {title}\n\n::: {module}\n    options: {{heading_level: 3}}\n" for module, title in PYTHON.items()]
    return "# Python\n\n" + "\n".join(parts)


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
