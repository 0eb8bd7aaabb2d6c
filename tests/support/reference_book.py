"""A slow and obvious reader of books: plays a word one event at a time, from lists."""

from __future__ import annotations

from fractions import Fraction


def events_of(clip, word, *, sensor, steps, step_us, t_start_us):
    """Return the events (t, x, y, p) of a clip, itself a list of these, as a word plays it in the step at a time."""
    tempo = Fraction(*word.tempo)
    played_us = steps * step_us / tempo
    shown_us = (t_start_us // step_us * step_us + word.phase * step_us) % played_us
    played = [((t / tempo) // 1, x + word.dx, y + word.dy, p) for t, x, y, p in clip]
    return [
        (int(t - shown_us + t_start_us), x, y, p)
        for t, x, y, p in played
        if shown_us <= t < shown_us + step_us and 0 <= x < sensor.width and 0 <= y < sensor.height
    ]


def window_of(events, *, sensor, step_us, bins, t_start_us):
    """Count events: nested lists [2 * bins][H][W]."""
    counts = [[[0] * sensor.width for _ in range(sensor.height)] for _ in range(2 * bins)]
    for t, x, y, p in events:
        counts[2 * ((t - t_start_us) // (step_us // bins)) + p][y][x] += 1
    return counts
