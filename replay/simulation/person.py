"""A simulated person: a body, its clothes, and a way of moving, all drawn from a number.

Lengths are in metres and spread around those of adults; lightness is the share of light that a surface reflects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from eventveil.replay.simulation.portable_random import PortableRandom

HAIR = ("none", "short", "high", "long", "bun")
PATTERNS = ("plain", "hoops", "stripes", "checks", "print")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One identity.

    Attributes:
        shoulder: from the middle of the neck to the joint.
        torso: from the neck to the hips.
        girth: half the width of the waist, as a share of `shoulder`.
        upper_arm, forearm, hand: lengths.
        limb: half the width of the forearm.
        head_width, head_height: size of the face, without hair.
        hair: one of `HAIR`.
        hair_light, skin_light, shirt_light: lightness.
        pattern: pattern of the shirt, one of `PATTERNS`; `period` is its length and `contrast` its strength, 0 to 1.
        long_sleeves, glasses: worn or not.
        tempo, amplitude: of every gesture, relative to the default.
        phase: lag of the left hand where both move, in turns.
        snap: strength of the second harmonic: how jerky the motion is.
        elbow: direction of the elbows, 0 down to 1 sideways.
        sway, sway_hz: amplitude in metres and frequency of the body's sway; `nod` is the amplitude of the head's nod
            to the beat, in metres.
        left_handed: makes one-handed gestures of the class "other" with the left hand.
        creases: contrast of the texture of hands and bare arms.
        natural: makes the gestures as people in real recordings do, with fists in front of the body.
        one_hand: drums with one hand only.
        seated: sits, with the legs towards the camera and idle hands in the lap.
    """

    shoulder: float
    torso: float
    girth: float
    upper_arm: float
    forearm: float
    hand: float
    limb: float
    head_width: float
    head_height: float
    hair: str
    hair_light: float
    skin_light: float
    shirt_light: float
    pattern: str
    period: float
    contrast: float
    long_sleeves: bool
    glasses: bool
    tempo: float
    amplitude: float
    phase: float
    snap: float
    elbow: float
    sway: float
    sway_hz: float
    nod: float
    left_handed: bool
    creases: float = 0.3
    natural: bool = False
    one_hand: bool = False
    seated: bool = False

    @classmethod
    def drawn(cls, seed: int, number: int) -> Self:
        """Draw the person of this number; the same seed and number give the same person."""
        random = PortableRandom(seed, "person", number)
        size = random.uniform(0.9, 1.1)
        return cls(
            shoulder=size * random.uniform(0.16, 0.21),
            torso=size * random.uniform(0.48, 0.56),
            girth=random.uniform(0.7, 1.05),
            upper_arm=size * random.uniform(0.26, 0.30),
            forearm=size * random.uniform(0.23, 0.27),
            hand=size * random.uniform(0.16, 0.20),
            limb=size * random.uniform(0.032, 0.048),
            head_width=size * random.uniform(0.14, 0.18),
            head_height=size * random.uniform(0.20, 0.25),
            hair=random.pick(HAIR),
            hair_light=random.pick((0.03, 0.06, 0.12, 0.35)),
            skin_light=random.uniform(0.3, 0.7),
            shirt_light=random.uniform(0.06, 0.6),
            pattern=random.pick(PATTERNS),
            period=random.uniform(0.04, 0.14),
            contrast=random.uniform(0.35, 0.8),
            long_sleeves=random.pick((False, True)),
            glasses=random.pick((False, False, True)),
            tempo=random.uniform(0.75, 1.3),
            amplitude=random.uniform(0.75, 1.2),
            phase=random.uniform(-0.08, 0.08),
            snap=random.uniform(-0.25, 0.25),
            elbow=random.uniform(0.0, 1.0),
            sway=random.uniform(0.006, 0.02),
            sway_hz=random.uniform(0.2, 0.6),
            nod=random.uniform(0.0, 0.006),
            left_handed=random.pick((False, False, False, True)),
        )
