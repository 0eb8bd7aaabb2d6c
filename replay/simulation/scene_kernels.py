"""The compiled part of `eventveil.replay.simulation.scene`: numba is imported only where people are really drawn."""

from __future__ import annotations

import numpy as np
from numba import njit

from eventveil.replay.simulation.body import ACROSS, ALONG, CHECKED

WHITE = 60_000.0  # intensity of a perfectly white surface in full light


@njit(cache=True, nogil=True)
def draw_frames(wall, margin, shift, shapes, looks, order, light, side, picture, frames):  # type: ignore[no-untyped-def]
    """Draw n frames; the arguments are explained in `eventveil.replay.simulation.scene.draw`."""
    empty = np.empty_like(picture)
    for n in range(frames.shape[0]):
        if n == 0 or shift[n, 0] != shift[n - 1, 0] or shift[n, 1] != shift[n - 1, 1]:
            _draw_wall(wall, margin, shift[n, 0], shift[n, 1], empty)
        picture[:] = empty
        for k in range(order.shape[1]):
            part = order[n, k]
            draw_bar(shapes[n, part], looks[part], shift[n, 0], shift[n, 1], side, picture)
        gain = WHITE * light[n]
        for y in range(frames.shape[1]):
            for x in range(frames.shape[2]):
                frames[n, y, x] = np.uint16(min(max(picture[y, x] * gain, 0.0), 65535.0))


@njit(cache=True, nogil=True)
def _draw_wall(wall, margin, dx, dy, picture):  # type: ignore[no-untyped-def]
    left, top = int(np.floor(margin + dx)), int(np.floor(margin + dy))
    u, v = margin + dx - left, margin + dy - top
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            upper = (1 - u) * wall[y + top, x + left] + u * wall[y + top, x + left + 1]
            lower = (1 - u) * wall[y + top + 1, x + left] + u * wall[y + top + 1, x + left + 1]
            picture[y, x] = (1 - v) * upper + v * lower


@njit(cache=True, nogil=True, error_model="numpy")  # without checks for a zero divisor, loops are vectorised
def draw_bar(shape, look, dx, dy, side, picture):  # type: ignore[no-untyped-def]
    """Draw one shape into a picture."""
    height, width = picture.shape
    ax, ay, bx, by = shape[0] - dx, shape[1] - dy, shape[2] - dx, shape[3] - dy
    ar, br = shape[4], shape[5]
    vx, vy = bx - ax, by - ay
    square = vx * vx + vy * vy
    length = np.sqrt(square)
    per_square = 1 / square if square > 1e-6 else 0.0
    per_length = 1 / length if length > 1e-3 else 0.0
    first_x = max(0, int(np.floor(min(ax - ar, bx - br))))
    last_x = min(width - 1, int(np.floor(max(ax + ar, bx + br))) + 1)
    first_y = max(0, int(np.floor(min(ay - ar, by - br))))
    last_y = min(height - 1, int(np.floor(max(ay + ar, by + br))) + 1)
    if first_x > last_x:
        return
    row = np.empty((6, last_x + 1 - first_x))
    cover, along, across, shade, lit, texture = row[0], row[1], row[2], row[3], row[4], row[5]
    texture[:] = 1.0
    for y in range(first_y, last_y + 1):
        py = y - ay
        for i in range(len(cover)):
            px = first_x + i - ax
            h = min(max((px * vx + py * vy) * per_square, 0.0), 1.0)
            ox, oy = px - h * vx, py - h * vy
            radius = ar + (br - ar) * h
            distance = ox * ox + oy * oy
            edge = min(max(radius + 0.5 - np.sqrt(distance), 0.0), 1.0)
            cover[i] = edge if distance < (radius + 0.5) * (radius + 0.5) else 0.0
            along[i], across[i] = h * length, (px * vy - py * vx) * per_length
            shade[i] = 1 - look[4] * distance / (radius * radius + 0.25)
            lit[i] = 1 + look[4] * side * ox / (radius + 0.5)
        _draw_texture(look, along, across, texture)
        target = picture[y, first_x : last_x + 1]
        for i in range(len(cover)):
            light = look[0] * texture[i] * shade[i] * lit[i]
            target[i] += (light - target[i]) * cover[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _draw_texture(look, along, across, texture):  # type: ignore[no-untyped-def]
    kind, wave, contrast = int(look[1]), look[2], look[3]
    if kind == ALONG:
        for i in range(len(texture)):
            texture[i] = 1 - contrast * _band(along[i] / wave)
    elif kind == ACROSS:
        for i in range(len(texture)):
            texture[i] = 1 - contrast * _band(across[i] / wave)
    elif kind == CHECKED:
        for i in range(len(texture)):
            texture[i] = 1 - contrast * 0.5 * (_band(along[i] / wave) + _band(across[i] / wave))


@njit(cache=True, nogil=True)
def _band(turns):  # type: ignore[no-untyped-def]
    """A soft band once a turn, 0 to 1."""
    part = turns - np.floor(turns)
    return min(max(1.5 - 6 * abs(part - 0.5), 0.0), 1.0)
