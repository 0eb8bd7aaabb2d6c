"""Rows of tables in documents: Markdown and LaTeX, with what these languages treat as signs of their own escaped."""

from __future__ import annotations

from collections.abc import Iterable

_LATEX = str.maketrans({"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", **{sign: f"\\{sign}" for sign in "&%$#_"},
                        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"})  # fmt: skip


def markdown_row(words: Iterable[str]) -> str:
    r"""Return a row of a Markdown table.

    >>> print(markdown_row(["a|b", "1.0"]))
    | a\|b | 1.0 |
    """
    return f"| {' | '.join(word.replace('|', chr(92) + '|') for word in words)} |"


def latex_text(text: str) -> str:
    r"""Return text that LaTeX prints as it stands.

    >>> print(latex_text("95 % of {a_b}"))
    95 \% of \{a\_b\}
    """
    return text.translate(_LATEX)


def latex_row(words: Iterable[str]) -> str:
    r"""Return a row of a LaTeX table.

    >>> print(latex_row(["a_b", "50 %"]))
    a\_b & 50 \% \\
    """
    return " & ".join(map(latex_text, words)) + r" \\"
