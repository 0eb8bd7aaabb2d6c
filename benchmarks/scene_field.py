"""Measure how a finer sensor degrades recognition, and how much its middle, thinned to the trained field, restores.

    python benchmarks/scene_field.py [SENSOR...]        (320x240 640x480; fine sensors are slow to simulate)

New people (seed 1; the noisy channel was trained on seed 0) make each gesture once, in front of sensors of other
geometries. Their windows go through the noisy channel, whose noise has the same seed.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from eventveil.events import Sensor
from eventveil.models.noise import SeededNoise
from eventveil.models.runtime import Anonymizer, Classifier
from eventveil.models.shipped import NOISY_CHANNEL, NOISY_CHANNEL_GESTURES
from eventveil.models.weights import load_weights
from eventveil.replay.datasets import dvs_gesture
from eventveil.replay.simulation.camera import Shot, simulate
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.histogram.pixel_map import centred

SUBJECTS = 3
SEED = 1


def main(*names: str) -> None:
    weights = load_weights(NOISY_CHANNEL)
    anonymize = Anonymizer(weights, device="cpu", noise=SeededNoise(SEED))
    classify = Classifier(load_weights(NOISY_CHANNEL_GESTURES), device="cpu")
    size, bins, bin_us, scene = (getattr(weights.metadata, key) for key in ("size", "bins", "bin_us", "scene"))
    for sensor in map(Sensor.parse, names):
        middle = centred(sensor, scene.field)
        ways: dict[str, dict[str, Any]] = {
            "the whole sensor": {},
            "its middle": {"crop": middle},
            "its middle, thinned": {"crop": middle, "field": scene.field},
        }
        windows: dict[str, list[np.ndarray]] = {way: [] for way in ways}
        truth = []
        for subject in range(1, SUBJECTS + 1):
            for gesture in range(len(dvs_gesture.GESTURES)):
                shot = Shot(sensor=sensor)
                packets = list(simulate(SEED, subject=subject, session=0, gesture=gesture, seconds=1.1, shot=shot))
                truth.append(gesture)
                for way, geometry in ways.items():
                    histogrammer = WindowedHistogrammer(sensor, size, bins, bin_us, **geometry)
                    closed = (window for packet in packets for window in histogrammer.push(packet))
                    windows[way].append(next(closed).counts)
        for way, counts in windows.items():
            right = int((classify(anonymize(counts)).argmax(1) == np.array(truth)).sum())
            density = np.median([window.sum() for window in counts]) / np.prod(size)
            print(f"{sensor}, {way:20} {right:3} of {len(truth)} right, {density:7.1f} events per pixel of a window")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ("320x240", "640x480")))
