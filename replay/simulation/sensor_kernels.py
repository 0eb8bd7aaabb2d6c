"""The compiled part of `eventveil.replay.simulation.sensor`: numba is imported only where events are really made."""

from __future__ import annotations

import numpy as np
from numba import njit

FULL = 65_535  # the brightest value of a picture
WORD = 0xFFFFFFFF
HALF_WORD = 0x7FFFFFFF
MULTIPLIER = 0x45D9F3B


@njit(cache=True, nogil=True)
def _scatter(word):  # type: ignore[no-untyped-def]
    """Mix 32 bits into 32 others; multipliers below 2^31 keep the products within an int64."""
    word = ((word >> 16) ^ word) * MULTIPLIER & WORD
    word = ((word >> 16) ^ word) * MULTIPLIER & WORD
    return (word >> 16) ^ word


@njit(cache=True, nogil=True)
def scatter_all(words, key):  # type: ignore[no-untyped-def]
    """Mix many words with a key."""
    mixed = np.empty(len(words), np.int64)
    for i in range(len(words)):
        mixed[i] = _scatter(words[i] ^ key)
    return mixed


@njit(cache=True, nogil=True)
def expose(  # type: ignore[no-untyped-def]
    picture, logarithm, following, filtered, memory, ready_us, on, off, start_us, step_us, refractory_us, leak, shot,
    shot_off, key, out_t, out_at, out_p,
):  # fmt: skip
    """Show all pixels the picture `step_us` after the previous one; return the number of events."""
    n = 0
    for at in range(len(picture)):
        old = filtered[at]
        new = old + (logarithm[picture[at]] - old) * following[picture[at]]
        filtered[at] = new
        if ready_us[at] >= start_us + step_us:
            continue
        if ready_us[at] >= start_us:
            memory[at] = old + (new - old) * (ready_us[at] - start_us) / step_us
        memory[at] -= leak * on[at]
        if new - memory[at] >= on[at] or memory[at] - new >= off[at]:
            n = _cross(
                at, old, new, memory, ready_us, on, off, start_us, step_us, refractory_us, n, out_t, out_at, out_p
            )
            continue
        word = _scatter(at ^ key)
        if (word & HALF_WORD) < shot * (1 - 0.75 * picture[at] / FULL) and n < len(out_t):
            awake_us = max(ready_us[at], start_us)
            mixed = _scatter(word)
            t = awake_us + mixed % (start_us + step_us - awake_us)
            # The low bits of `word` are small here; its highest and those of `mixed` are not.
            brighter = (word & ~HALF_WORD) + (mixed >> 1) >= shot_off
            n = _fire(at, t, brighter, refractory_us, ready_us, n, out_t, out_at, out_p)
            memory[at] = old + (new - old) * min(ready_us[at] - start_us, step_us) / step_us
    return n


@njit(cache=True, nogil=True)
def _cross(  # type: ignore[no-untyped-def]
    at, old, new, memory, ready_us, on, off, start_us, step_us, refractory_us, n, out_t, out_at, out_p
):
    """Fire for every threshold crossed on the way from `old` to `new`; return the number of events so far."""
    end_us, change = start_us + step_us, new - old
    while n < len(out_t):
        if new - memory[at] >= on[at]:
            level, brighter = memory[at] + on[at], True
        elif memory[at] - new >= off[at]:
            level, brighter = memory[at] - off[at], False
        else:
            break
        # The leak can cause a crossing where the light itself changes the other way, or not at all.
        share = min(max((level - old) / change, 0.0), 1.0) if change != 0 else 0.0
        t = min(max(start_us + int(share * step_us), ready_us[at]), end_us - 1)
        n = _fire(at, t, brighter, refractory_us, ready_us, n, out_t, out_at, out_p)
        if ready_us[at] >= end_us:
            break
        memory[at] = old + change * (ready_us[at] - start_us) / step_us
    return n


@njit(cache=True, nogil=True)
def _fire(at, t, brighter, refractory_us, ready_us, n, out_t, out_at, out_p):  # type: ignore[no-untyped-def]
    """Write event `n`, for which the caller has checked that there is room; return the number of events so far."""
    out_t[n], out_at[n], out_p[n] = t, at, brighter
    ready_us[at] = t + refractory_us
    return n + 1
