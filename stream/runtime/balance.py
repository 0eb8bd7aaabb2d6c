"""The balance of a line's books: of each stage and of each edge what came, what left, and what is on its way.

of a stage    received = sent + dropped + in_flight
of an edge    sent = received + dropped + in_flight
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from eventveil.stream.runtime.accounting import CRASH, SOURCE, PipelineCounters, StreamCounters

_Figures = dict[str, Any]


def balance(books: PipelineCounters) -> _Figures:
    """The balance as plain values, at any moment of a running line or at its end.

    `balanced` says that nothing left more often than it came. Stages are read against the stream, so that what passes
    from one to the next meanwhile counts as on its way.
    """
    read: dict[str, dict[str, _Figures]] = {}
    edges: dict[str, _Figures] = {}
    for name in reversed(books.stages):
        behind = next((later for later in reversed(read) if not later.startswith(SOURCE)), None)
        read[name] = {stream: _read(entry) for stream, entry in books[name]}
        if behind is not None:
            edges[f"{name} > {behind}"] = _edge(_sum(read[name].values()), _sum(read[behind][s] for s in read[name]))
    stages = {name: _sum(read[name].values()) for name in books.stages}
    places = [*stages.values(), *edges.values()]
    for figures in stages.values():
        del figures["missed"]  # is the edge's
    return {
        "stages": stages,
        "edges": dict(reversed(edges.items())),
        "in_flight": sum(place["in_flight"] for place in places),
        "balanced": all(place["in_flight"] >= 0 for place in places),
    }


def _read(entry: StreamCounters) -> _Figures:
    left = {"sent": entry.sent, "dropped": entry.dropped(), "missed": entry.missed}
    return left | {"received": entry.received}  # last: it is never behind what has left


def _sum(entries: Iterable[_Figures]) -> _Figures:
    entries = list(entries)
    dropped = sum((entry["dropped"] for entry in entries), Counter[str]())
    received, sent, missed = (sum(entry[count] for entry in entries) for count in ("received", "sent", "missed"))
    in_flight = received - sent - dropped.total()
    return {"received": received, "sent": sent, "dropped": dict(dropped), "missed": missed, "in_flight": in_flight}


def _edge(stage: _Figures, behind: _Figures) -> _Figures:
    lost = {CRASH: behind["missed"]} if behind["missed"] else {}
    in_flight = stage["sent"] - behind["received"] - behind["missed"]
    return {"sent": stage["sent"], "received": behind["received"], "dropped": lost, "in_flight": in_flight}
