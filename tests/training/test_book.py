"""Plans of books: which words there are, and which clips they share."""

from __future__ import annotations

from math import log2

import pytest
from book_helpers import clip
from documentation import REPOSITORY

from eventveil.errors import BookError
from eventveil.replay.datasets.dvs_gesture import GESTURES, NO_GESTURE, NOBODY
from eventveil.training.book.make import BookSettings, compose_book, lay_out_book


def settings(**words):
    return BookSettings(steps=24, words=words)


def test_every_combination_is_a_word_and_words_share_clips():
    layout = lay_out_book(
        settings(
            places=[[0, 0], [-20, 0], [20, 0]], sizes=[1, 0.7], amplitudes=[1, 0.6], tempos=[[1, 1], [3, 4]], phases=3
        )
    )
    assert len(layout.words) == 11 * 3 * 2 * 2 * 2 * 3 + 3 * 2 + 1
    assert len(layout.clips) == 11 * 2 * 2 + 2 + 1
    assert len(set(layout.words)) == len(layout.words)
    assert {word.clip for word in layout.words} == set(range(len(layout.clips)))
    for word in layout.words:
        assert layout.clips[word.clip] == (word.label, word.size, word.amplitude)
        assert word.presence == (word.label != NOBODY)
    slow = [word for word in layout.words if word.label == GESTURES[0] and word.tempo == (3, 4)]
    assert {word.phase for word in slow} == {0, 10, 21}  # of 32 steps
    assert {(word.dx, word.size) for word in layout.words if word.label == NO_GESTURE} == {
        (dx, size) for dx in (0, -20, 20) for size in (1, 0.7)
    }


def test_a_planned_book_is_a_valid_one():
    layout = lay_out_book(settings(places=[[0, 0], [3, 1]], tempos=[[1, 1], [4, 3]], phases=2, sizes=[1.0, 0.5]))
    small = BookSettings(steps=24, step_us=2_000, person={"sensor": "7x5"})
    book = compose_book(small, layout, [clip(n, length_us=48_000) for n in range(len(layout.clips))])
    assert book.words == layout.words
    assert len({book.window(number, 0).tobytes() for number in range(len(book.words))}) > len(layout.clips)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"tempos": [[5, 1]]}, "takes 4.8: expected a whole number"),
        ({"phases": 25}, "at least the 25 phases"),
        ({"phases": 24, "places": [[n, 0] for n in range(17)]}, "at most 4096 words"),
    ],
)
def test_words_that_do_not_fit_are_refused(words, message):
    with pytest.raises(BookError, match=message):
        lay_out_book(settings(**words))


def test_a_book_of_nearly_4096_words_can_be_planned():
    layout = lay_out_book(settings(places=[[n, 0] for n in range(46)], phases=8))
    assert (len(layout.words), len(layout.clips)) == (4095, 13)


ROWS = {
    "words.places='[[-24, 0], [0, 0], [24, 0]]'": {"places": [[-24, 0], [0, 0], [24, 0]]},
    "words.tempos='[[5, 6], [1, 1], [5, 4]]'": {"tempos": [[5, 6], [1, 1], [5, 4]]},
    "words.phases=5": {"phases": 5},
    "words.sizes='[0.7, 1.0]'": {"sizes": [0.7, 1.0]},
    "words.amplitudes='[0.6, 1.0]'": {"amplitudes": [0.6, 1.0]},
}
ALL = {key: value for words in ROWS.values() for key, value in words.items()}


@pytest.mark.parametrize(("row", "words"), [*((f"`{name}`", words) for name, words in ROWS.items()), ("all of", ALL)])
def test_the_page_counts_words_and_clips_right(row, words):
    page = (REPOSITORY / "docs" / "book-format.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith(f"| {row}"))
    layout = lay_out_book(BookSettings(words=words))
    count, clips = len(layout.words), len(layout.clips)
    assert [cell.strip() for cell in line.split("|")[2:5]] == [f"{count:,}", f"{clips}", f"{log2(count):.2f}"]
