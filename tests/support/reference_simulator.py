"""Slow twins of the simulated camera's kernels: one pixel at a time, in plain Python, after their descriptions."""

from __future__ import annotations

import math


def scatter(word: int) -> int:
    for _ in range(2):
        word = (((word >> 16) ^ word) * 0x45D9F3B) % 2**32
    return (word >> 16) ^ word


class Pixel:
    """One pixel of the sensor, shown a value, its logarithm and the share of the difference that it follows."""

    def __init__(self, place: int, on: float, off: float, first: float) -> None:
        self.place, self.on, self.off = place, on, off
        self.filtered = self.memory = first
        self.ready = 0
        self.events: list[tuple[int, int, bool]] = []

    def meet(self, value, logarithm, share, *, start, step, refractory, leak, shot, key) -> None:
        old = self.filtered
        new = self.filtered = old + (logarithm - old) * share

        def at(t: int) -> float:
            return old + (new - old) * (t - start) / step

        if self.ready >= start + step:
            return
        if self.ready >= start:
            self.memory = at(self.ready)
        self.memory -= leak * self.on
        fired = False
        while self.ready < start + step:
            if new - self.memory >= self.on:
                level, on = self.memory + self.on, True
            elif self.memory - new >= self.off:
                level, on = self.memory - self.off, False
            else:
                break
            part = 0.0 if new == old else (level - old) / (new - old)
            t = start + int(min(1.0, max(0.0, part)) * step)
            self._fire(min(start + step - 1, max(self.ready, t)), on, refractory)
            fired = True
            if self.ready < start + step:
                self.memory = at(self.ready)
        word = scatter(self.place ^ key)
        if not fired and word % 2**31 < shot * (1 - 0.75 * value / 65_535):
            awake = max(self.ready, start)
            self._fire(awake + scatter(word) % (start + step - awake), word >= 2**31, refractory)
            self.memory = at(min(self.ready, start + step))

    def _fire(self, t: int, on: bool, refractory: int) -> None:
        self.events.append((t, self.place, on))
        self.ready = t + refractory


def bar(shape, look, side, picture):
    """Draw one bar into a picture (list of rows), visiting every pixel."""
    ax, ay, bx, by, ar, br = map(float, shape)
    vx, vy = bx - ax, by - ay
    long = math.hypot(vx, vy)
    for y, row in enumerate(picture):
        for x, before in enumerate(row):
            px, py = x - ax, y - ay
            h = min(1.0, max(0.0, (px * vx + py * vy) / long**2)) if long > 1e-3 else 0.0
            away = math.hypot(px - h * vx, py - h * vy)
            radius = ar + (br - ar) * h
            cover = min(1.0, max(0.0, radius + 0.5 - away))
            across = (px * vy - py * vx) / long if long > 1e-3 else 0.0
            light = look[0] * texture(look, h * long, across)
            light *= 1 - look[4] * away**2 / (radius**2 + 0.25)
            light *= 1 + look[4] * side * (px - h * vx) / (radius + 0.5)
            row[x] = before + (light - before) * cover


def texture(look, along: float, across: float) -> float:
    bands = [min(1.0, max(0.0, 1.5 - 6 * abs((v / look[2]) % 1 - 0.5))) for v in (along, across)]
    return 1 - look[3] * {0: 0.0, 1: bands[0], 2: bands[1], 3: sum(bands) / 2}[int(look[1])]
