"""Which pixels of a sensor are used: the centre, in the aspect ratio of the training data."""

from __future__ import annotations

import pytest

from eventveil import Sensor
from eventveil.errors import EventError
from eventveil.stream.histogram.pixel_map import PixelMap, centred


@pytest.mark.parametrize(
    ("sensor", "shape", "part"),
    [
        ("128x128", (128, 128), (0, 0, 128, 128)),
        ("346x260", (128, 128), (43, 0, 260, 260)),
        ("1280x720", (32, 32), (280, 0, 720, 720)),
        ("720x1280", (32, 32), (0, 280, 720, 720)),
        ("640x480", (346, 260), (1, 0, 638, 480)),
        ("640x480", (4, 3), (0, 0, 640, 480)),
        ("3x1", (1, 100), (1, 0, 1, 1)),
    ],
)
def test_the_middle_of_a_sensor_has_the_asked_shape(sensor, shape, part):
    assert centred(Sensor.parse(sensor), shape) == part


def test_a_field_leaves_out_the_pixels_between_evenly_spread_ones():
    pixels = PixelMap.of(Sensor(9, 6), field=(3, 2))
    used = {(x, y) for x in range(9) for y in range(6) if pixels.columns[x] + pixels.rows[y] < pixels.cells}
    assert used == {(x, y) for x in (1, 4, 7) for y in (1, 4)}
    assert (pixels.width, pixels.height) == (3, 2)


def test_a_field_larger_than_the_sensor_changes_nothing():
    plain, with_field = PixelMap.of(Sensor(5, 4)), PixelMap.of(Sensor(5, 4), field=(50, 40))
    assert (with_field.columns == plain.columns).all()
    assert (with_field.rows == plain.rows).all()
    assert with_field.unscaled


def test_a_window_larger_than_the_field_is_refused():
    with pytest.raises(EventError, match="1x1 to the 3x2 pixels"):
        PixelMap.of(Sensor(9, 6), size=(4, 2), field=(3, 2))
