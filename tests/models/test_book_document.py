"""The reader in docs/book-format.md shows what the reference shows."""

from __future__ import annotations

import re

from book_helpers import WORDS, small_book
from documentation import REPOSITORY


def test_the_reader_of_the_page_agrees_with_the_reference(tmp_path):
    page = (REPOSITORY / "docs" / "book-format.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    reader = {}
    exec(code, reader)
    book = small_book(bins=3)
    book.write(tmp_path / "b")
    for number in range(len(WORDS)):
        for t_start_us in (0, 120, 240, 600, -120, 10**15 + 7):
            shown = reader["window"](tmp_path / "b", number, t_start_us)
            assert (shown == book.window(number, t_start_us)).all()
            assert shown.dtype == "<f4"
