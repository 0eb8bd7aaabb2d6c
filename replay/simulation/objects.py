"""Things that move without a person: fans, cars, leaves, rain, curtains, pets, as shapes for the scene to draw.

Each is drawn once, with its size, its lightness and its pace, in units of the picture's height, and then gives its
shapes at any moment. Lightness and texture vary as widely as those of people and walls.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eventveil.events import Sensor
from eventveil.replay.simulation.body import PLAIN, BodyShapes
from eventveil.replay.simulation.canvas import Canvas, Look, Shapes, look
from eventveil.replay.simulation.portable_random import Floats, PortableRandom, sine


def fan(sensor: Sensor, random: PortableRandom) -> Shapes:
    """Blades that turn about a hub."""
    wide = sensor.width / sensor.height
    x, y, reach = random.uniform(0.2, 0.8) * wide, random.uniform(0.2, 0.8), random.uniform(0.12, 0.35)
    blades, hertz, begin = random.pick((3, 4, 5)), random.pick((-1, 1)) * random.uniform(0.5, 5), random.uniform(0, 1)
    half, surface, hub = random.uniform(0.02, 0.06), look(random), look(random, plain=True)

    def at(t_s: Floats) -> BodyShapes:
        canvas = Canvas(sensor, len(t_s))
        for k in range(blades):
            turn = t_s * hertz + begin + k / blades
            tip = x + reach * sine(turn + 0.25), y + reach * sine(turn)
            canvas.bar((x, y), tip, half, surface)
        canvas.bar((x, y), (x, y), 0.05, hub, depth=1)
        return canvas.shapes()

    return at


def turning_box(sensor: Sensor, random: PortableRandom) -> Shapes:
    """A box, or a mug, with marks on its sides, that turns about its upright axis, back and forth or around."""
    wide = sensor.width / sensor.height
    x, y = random.uniform(0.3, 0.7) * wide, random.uniform(0.35, 0.65)
    radius, high, hertz = random.uniform(0.08, 0.25), random.uniform(0.08, 0.3), random.uniform(0.1, 0.8)
    around, marks = random.pick((False, True)), 3 + random.bits() % 5
    body = look(random, plain=True)
    drawn = [
        (random.uniform(0, 1), random.uniform(-0.7, 0.3), random.uniform(0.1, 0.7), random.uniform(0.006, 0.03))
        for _ in range(marks)
    ]
    surfaces = [look(random, plain=True) for _ in range(marks)]

    def at(t_s: Floats) -> BodyShapes:
        canvas = Canvas(sensor, len(t_s))
        turn = t_s * hertz if around else 0.3 * sine(t_s * hertz)
        canvas.bar((x, y - high), (x, y + high), radius * (0.95 + 0.05 * sine(2 * turn)), body)
        for (place, top, long, half), surface in zip(drawn, surfaces, strict=True):
            across, near = radius * 0.9 * sine(turn + place), sine(turn + place + 0.25)
            # Behind the body a mark is not seen; near its edge it is seen from the side, so narrow.
            canvas.bar(
                (x + across, y + top * high),
                (x + across, y + (top + long) * high),
                half * np.maximum(near, 0),
                surface,
                depth=1,
            )
        return canvas.shapes()

    return at


def pendulum(sensor: Sensor, random: PortableRandom) -> Shapes:
    """A weight on a string or a rod."""
    wide = sensor.width / sensor.height
    x, y, long = random.uniform(0.35, 0.65) * wide, random.uniform(-0.3, 0.1), random.uniform(0.5, 0.9)
    turns, hertz, half = random.uniform(0.02, 0.11), random.uniform(0.4, 1.3), random.uniform(0.03, 0.12)
    rod, bob, rod_half = look(random, plain=True), look(random), random.uniform(0.004, 0.012)

    def at(t_s: Floats) -> BodyShapes:
        canvas = Canvas(sensor, len(t_s))
        angle = turns * sine(t_s * hertz)
        end = x + long * sine(angle), y + long * sine(angle + 0.25)
        canvas.bar((x, y), end, rod_half, rod)
        canvas.bar(end, end, half, bob, depth=1)
        return canvas.shapes()

    return at


def shaken(sensor: Sensor, random: PortableRandom) -> Shapes:
    """A flat thing, such as a telephone, that is shaken: it moves fast about one place and tilts a little."""
    wide = sensor.width / sensor.height
    x, y = random.uniform(0.35, 0.65) * wide, random.uniform(0.35, 0.65)
    long, half, surface = random.uniform(0.1, 0.25), random.uniform(0.04, 0.15), look(random)
    rates = [random.uniform(1.5, 5.0) for _ in range(3)]
    sizes = [random.uniform(0.01, 0.12), random.uniform(0.01, 0.12), random.uniform(0, 0.05)]
    level = random.uniform(0, 1)

    def at(t_s: Floats) -> BodyShapes:
        canvas = Canvas(sensor, len(t_s))
        dx, dy, tilt = (size * sine(t_s * hertz) for size, hertz in zip(sizes, rates, strict=True))
        ahead = long * sine(level + tilt + 0.25), long * sine(level + tilt)
        canvas.bar((x + dx - ahead[0], y + dy - ahead[1]), (x + dx + ahead[0], y + dy + ahead[1]), half, surface)
        return canvas.shapes()

    return at


def ball(sensor: Sensor, random: PortableRandom) -> Shapes:
    """A ball or a box that rolls or slides through the picture and comes back."""
    wide = sensor.width / sensor.height
    y, half = random.uniform(0.3, 0.9), random.uniform(0.04, 0.2)
    hertz, hop, surface = random.uniform(0.1, 0.5), random.pick((0.0, 0.15)), look(random)
    flat = random.pick((0.0, 0.1))

    def at(t_s: Floats) -> BodyShapes:
        canvas = Canvas(sensor, len(t_s))
        x = wide * (0.5 + 0.8 * sine(t_s * hertz))
        height = y - hop * np.abs(sine(t_s * hertz * 3))
        canvas.bar((x - flat, height), (x + flat, height), half, surface)
        return canvas.shapes()

    return at


def car(sensor: Sensor, random: PortableRandom) -> Shapes:
    """Cars that drive through the picture, one after the other."""
    wide = sensor.width / sensor.height
    y, size, every_s = random.uniform(0.4, 0.8), random.uniform(0.1, 0.3), random.uniform(1.5, 4)
    speed, way = random.uniform(0.4, 1.5), random.pick((-1, 1))
    body, window, tyre = look(random, plain=True), look(random, plain=True), (0.04, PLAIN, 0.1, 0.0, 0.0)
    begin = random.uniform(0, 1)

    def at(t_s: Floats) -> BodyShapes:
        canvas = Canvas(sensor, len(t_s))
        since = t_s / every_s + begin
        x = 0.5 * wide + way * (speed * every_s * (since - np.floor(since) - 0.5))
        canvas.bar((x - size, y), (x + size, y), 0.35 * size, body)
        canvas.bar((x - 0.4 * size, y - 0.4 * size), (x + 0.4 * size, y - 0.4 * size), 0.3 * size, body)
        canvas.bar((x - 0.3 * size, y - 0.45 * size), (x + 0.3 * size, y - 0.45 * size), 0.18 * size, window, depth=1)
        for wheel in (-0.65, 0.65):
            spot = x + wheel * size, y + 0.3 * size
            canvas.bar(spot, spot, 0.22 * size, tyre, depth=2)
        return canvas.shapes()

    return at


def leaves(sensor: Sensor, random: PortableRandom) -> Shapes:
    """Leaves or branches that the wind moves."""
    wide = sensor.width / sensor.height
    green, gust = random.uniform(0.05, 0.6), random.uniform(0.1, 0.5)
    drawn = [
        (
            random.uniform(0, wide),
            random.uniform(0, 1),
            random.uniform(0, 1),
            random.uniform(0.02, 0.1),
            random.uniform(0.5, 2.5),
            random.uniform(0.005, 0.04),
        )
        for _ in range(15 + random.bits() % 20)
    ]
    surfaces: list[Look] = [(green * random.uniform(0.6, 1.5), PLAIN, 0.1, 0.0, 0.3) for _ in drawn]

    def at(t_s: Floats) -> BodyShapes:
        canvas = Canvas(sensor, len(t_s))
        wind = 0.6 + 0.4 * sine(t_s * gust)
        for (x, y, way, long, hertz, swing), surface in zip(drawn, surfaces, strict=True):
            dx, dy = swing * wind * sine(t_s * hertz + way), 0.5 * swing * wind * sine(t_s * 1.3 * hertz)
            turn = way + 0.1 * wind * sine(t_s * hertz)
            tip = x + dx + long * sine(turn + 0.25), y + dy + long * sine(turn)
            canvas.bar((x + dx, y + dy), tip, long / 4, surface)
        return canvas.shapes()

    return at


def rain(sensor: Sensor, random: PortableRandom) -> Shapes:
    """Drops, or snow, that fall through the picture."""
    wide = sensor.width / sensor.height
    snow = random.pick((False, True))
    speed, slant = random.uniform(0.15, 0.5) if snow else random.uniform(1.5, 3.5), random.uniform(-0.2, 0.2)
    light, half = random.uniform(0.3, 0.9), random.uniform(0.004, 0.012)
    drawn = [
        (random.uniform(0, wide), random.uniform(0, 1), random.uniform(0.8, 1.2))
        for _ in range(10 + random.bits() % 40)
    ]

    def at(t_s: Floats) -> BodyShapes:
        canvas = Canvas(sensor, len(t_s))
        for x, begin, pace in drawn:
            fall = t_s * speed * pace / 1.4 + begin
            y = 1.4 * (fall - np.floor(fall)) - 0.2
            tail = 0.0 if snow else 0.06
            canvas.bar((x + slant * y, y - tail), (x + slant * y, y), half, (light, PLAIN, 0.1, 0.0, 0.0))
        return canvas.shapes()

    return at


def curtain(sensor: Sensor, random: PortableRandom) -> Shapes:
    """The folds of a curtain that moves in a draught."""
    left, wide = random.uniform(-0.1, 0.4), random.uniform(0.4, 0.9)
    folds, hertz, swing = 6 + random.bits() % 8, random.uniform(0.2, 0.9), random.uniform(0.01, 0.06)
    light, lag = random.uniform(0.1, 0.9), random.uniform(0.03, 0.15)

    def at(t_s: Floats) -> BodyShapes:
        canvas = Canvas(sensor, len(t_s))
        for k in range(folds):
            x = left + wide * k / folds
            dx = swing * sine(t_s * hertz + lag * k)
            shade = light * (1.0 if k % 2 else 0.7)
            canvas.bar((x, -0.1), (x + dx, 1.1), 0.6 * wide / folds, (shade, PLAIN, 0.1, 0.0, 0.5))
        return canvas.shapes()

    return at


def pet(sensor: Sensor, random: PortableRandom) -> Shapes:
    """A dog or a cat that runs through the lower part of the picture, back and forth."""
    wide = sensor.width / sensor.height
    size, y, hertz = random.uniform(0.08, 0.2), random.uniform(0.7, 0.85), random.uniform(0.1, 0.25)
    fur, steps_hz = look(random), random.uniform(1.5, 3)

    def at(t_s: Floats) -> BodyShapes:
        canvas = Canvas(sensor, len(t_s))
        x, way = wide * (0.5 + 0.9 * sine(t_s * hertz)), np.where(sine(t_s * hertz + 0.25) > 0, 1.0, -1.0)
        bob = y + 0.04 * size * sine(t_s * steps_hz)
        for k in range(4):
            root = x + (-0.8 + 0.5 * k) * size
            swing = 0.25 * size * sine(t_s * steps_hz + k * 0.3)
            canvas.bar((root, bob), (root + swing, y + 0.9 * size), 0.1 * size, fur)
        canvas.bar((x - 0.8 * size, bob), (x + 0.8 * size, bob), 0.35 * size, fur)
        head = x + 1.1 * way * size, bob - 0.4 * size
        canvas.bar(head, (head[0] + 0.2 * way * size, head[1]), 0.25 * size, fur)
        tail = x - 0.9 * way * size, bob - 0.1 * size
        wag = tail[0] - 0.5 * way * size, tail[1] - (0.4 + 0.2 * sine(t_s * 2 * steps_hz)) * size
        canvas.bar(tail, wag, 0.06 * size, fur)
        return canvas.shapes()

    return at


def bird(sensor: Sensor, random: PortableRandom) -> Shapes:
    """One to five birds or insects that fly across."""
    wide = sensor.width / sensor.height
    drawn = [
        [random.uniform(0.1, 0.5) for _ in range(4)] + [random.uniform(0, 1) for _ in range(4)]
        for _ in range(1 + random.bits() % 5)
    ]
    size, flap_hz, surface = random.uniform(0.01, 0.05), random.uniform(2, 8), look(random, plain=True)

    def at(t_s: Floats) -> BodyShapes:
        canvas = Canvas(sensor, len(t_s))
        for a, b, c, d, p, q, r, s in drawn:
            x = wide * (0.5 + 0.4 * sine(t_s * a + p) + 0.2 * sine(t_s * 2 * b + q))
            y = 0.5 + 0.4 * sine(t_s * c + r) + 0.2 * sine(t_s * 2 * d + s)
            flap = size * sine(t_s * flap_hz + p)
            canvas.bar((x - 2 * size, y - flap), (x, y), 0.5 * size, surface)
            canvas.bar((x + 2 * size, y - flap), (x, y), 0.5 * size, surface)
        return canvas.shapes()

    return at


THINGS: dict[str, Callable[[Sensor, PortableRandom], Shapes]] = {
    "turning-box": turning_box,
    "pendulum": pendulum,
    "shaken-object": shaken,
    "fan": fan,
    "ball": ball,
    "cars": car,
    "leaves": leaves,
    "rain": rain,
    "curtain": curtain,
    "pet": pet,
    "birds": bird,
}
"""All things, by the name of the negative that shows one."""
