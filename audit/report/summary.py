"""What page one of the report says in plain words: what leaves, who could learn what, and who tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eventveil.audit.figures import Figure, Knowledge, SubjectReport
from eventveil.audit.report.plots import most_linking
from eventveil.audit.report.report import AuditReport

KINDS: dict[Knowledge, str] = {
    "ignorant": "learned from raw windows.",
    "informed": "learned from anonymized windows, with fresh noise each time.",
    "denoising": "informed, with a network before it that learns to remove the noise.",
    "inverting": "ignorant, after such a network that was trained alone.",
    "reconstructing": "learned from pictures made from raw windows, and is shown those made from anonymized ones.",
    "gestures": "has the labels and probabilities of published gestures alone.",
    "untrained": "learned nothing: compares windows, or what is published with them, by rules.",
    "white-box": "learned from the codes or words behind published windows, which anyone with the weights can compute.",
    "messages": "has everything that is sent but the windows: headers, lengths, published gestures and arrival times.",
    "averaging": "learned from means of many anonymizations of the same events, which are never published.",
    "overlapping": "learned from means of overlapping windows, which are never published.",
}
THREATS = (
    ("A subscriber recognises people", "the stream, earlier recordings of the people, the weights", "measured below"),
    ("A subscriber watches for long", "all windows of a visit", "measured below, up to the longest length"),
    (
        "An attacker undoes the noise",
        "the weights, many windows",
        "fresh noise for each window; no bin published twice",
    ),
    (
        "An attacker eavesdrops on the network",
        "encrypted traffic and its times",
        "CURVE keys; windows leave on a fixed grid",
    ),
    ("An attacker replaces the weights", "the machine's files", "digests in every header, and this certificate"),
)
"""Threat, what the attacker has, and what stands against it."""


def what_leaves(subject: SubjectReport, bits_per_second: float | None = None) -> str:
    """Describe what a pipeline with these weights publishes, for a stand-in with the most bits that its words carry."""
    about = subject.about or {}
    gestures = " and the name of the recognised gesture, with its rounded probability" if subject.classifier else ""
    if about.get("kind") == "stand_in":
        words = f"Clips of a simulated person, chosen from a public book of {about['config']['words']} words{gestures}."
        return words + (f" The choice reveals at most {bits_per_second:g} bits per second." if bits_per_second else "")
    return f"Anonymized windows{_size(about)}{gestures}."


def _size(about: Mapping[str, Any]) -> str:
    """Describe the size of windows; the metadata of weights for whole recordings has no length of a bin."""
    if not about.get("bin_us"):
        return ""
    (width, height), milliseconds = about["size"], about["bin_us"] / 1000
    return f" of {width}x{height} squares and {about['bins']} steps of {milliseconds:g} ms"


def what_is_learned(report: AuditReport) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the questions of an attacker, each with the answer for each audited anonymizer, after its name."""
    rows: dict[str, Callable[[SubjectReport], str]] = {
        "Who is it, of people seen before?": _identity,
        "Which one of a crowd is it?": _crowd,
        "Is it one certain person?": _one_person,
        "What did the camera see?": _restored,
        "What is the person like?": _attributes,
        "Which gesture is it? (the purpose)": lambda one: _share(one.utility.retrained if one.utility else None),
    }
    return [(question, [(one.name, answer(one)) for one in report.audited]) for question, answer in rows.items()]


def who_tried(report: AuditReport) -> str:
    """Describe the attackers and the people of the test."""
    titles = {attack.title for subject in report.audited for attack in subject.attacks}
    people = "simulated people" if report.data.simulated else "people"
    attackers = "attacker" if len(titles) == 1 else "attackers"
    return (
        f"{len(titles)} {attackers}, of the kinds that section 2 explains, tried it on {report.data.people['test']} "
        f"{people} whom they had never seen before. They learned from {report.data.people['train']} others."
    )


def maximum_risk(subject: SubjectReport) -> str:
    """Describe the person who was identified with the most certainty."""
    of_person = [one for attack in subject.attacks if attack.way == "linked" for one in attack.linked_people]
    if not of_person:
        return "No person was named more often than luck explains."
    one = min(of_person, key=lambda person: person.luck)
    certain = subject.verdict is not None and subject.verdict.surely_linked
    return (
        f"The person identified with the most certainty was named correctly {one.hits} of {one.queries} times (blind "
        f"guessing: {one.chance:.1%}), {'linked with certainty' if certain else 'possibly by luck'}."
    )


def _identity(subject: SubjectReport) -> str:
    best = subject.strongest.advantage
    interval = f"95\N{NO-BREAK SPACE}% interval {_percent(best.low)} to {_percent(best.high)}"
    return f"advantage {_percent(best.value)} ({interval})"


def _crowd(subject: SubjectReport) -> str:
    crowds = most_linking(subject.attacks)
    return f"of {crowds[-1].people}: {_share(crowds[-1].linkability)}" if crowds else "not tested"


def _one_person(subject: SubjectReport) -> str:
    assert subject.verdict is not None
    people = subject.verdict.decisive.attack.people
    return f"{len(subject.verdict.surely_linked)} of {people} people are identified more often than luck explains"


def _restored(subject: SubjectReport) -> str:
    return "not tested" if subject.restored is None else f"{_percent(subject.restored.value)} of it was restored"


def _attributes(subject: SubjectReport) -> str:
    best: dict[str, Figure] = {}
    for one in subject.attributes:
        if one.name not in best or one.accuracy.value > best[one.name].value:
            best[one.name] = one.accuracy
    return "; ".join(f"{name}: {_share(accuracy)}" for name, accuracy in best.items()) or "not tested"


def _share(figure: Figure | None) -> str:
    if figure is None:
        return "not tested"
    return f"right in {_percent(figure.value)}, blind guessing in {_percent(figure.chance)}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"
