"""The balance of a pipeline's counters: what entered, what left and what is in flight, for each stage and each edge.

for a stage    received = sent + dropped + in_flight
for an edge    sent = received + dropped + in_flight
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from eventveil.stream.runtime.accounting import CRASH, SOURCE, PipelineCounters, StreamCounters

_Figures = dict[str, Any]


def balance(counters: PipelineCounters) -> _Figures:
    """Return the balance as plain values, at any moment of a running pipeline or at its end.

    `balanced` is true while no more windows have left than entered. The last stage is read first, so that what passes
    from one stage to the next meanwhile counts as in flight.
    """
    stages_read: dict[str, dict[str, _Figures]] = {}
    edges: dict[str, _Figures] = {}
    for name in reversed(counters.stages):
        receiver = next((later for later in reversed(stages_read) if not later.startswith(SOURCE)), None)
        streams = stages_read[name] = {stream: _read(each) for stream, each in counters[name]}
        if receiver is not None:
            received = _sum(stages_read[receiver][stream] for stream in streams)
            edges[f"{name} > {receiver}"] = _edge(_sum(streams.values()), received)
    stages = {name: _sum(stages_read[name].values()) for name in counters.stages}
    places = [*stages.values(), *edges.values()]
    for figures in stages.values():
        del figures["missed"]  # belongs to the edge
    return {
        "stages": stages,
        "edges": dict(reversed(edges.items())),
        "in_flight": sum(place["in_flight"] for place in places),
        "balanced": all(place["in_flight"] >= 0 for place in places),
    }


def _read(counters: StreamCounters) -> _Figures:
    left = {"sent": counters.sent, "dropped": counters.dropped(), "missed": counters.missed}
    return left | {"received": counters.received}  # last: it is never less than what has left


def _sum(streams: Iterable[_Figures]) -> _Figures:
    streams = list(streams)
    dropped = sum((stream["dropped"] for stream in streams), Counter[str]())
    received, sent, missed = (sum(stream[count] for stream in streams) for count in ("received", "sent", "missed"))
    in_flight = received - sent - dropped.total()
    return {"received": received, "sent": sent, "dropped": dict(dropped), "missed": missed, "in_flight": in_flight}


def _edge(sender: _Figures, receiver: _Figures) -> _Figures:
    lost = {CRASH: receiver["missed"]} if receiver["missed"] else {}
    in_flight = sender["sent"] - receiver["received"] - receiver["missed"]
    return {"sent": sender["sent"], "received": receiver["received"], "dropped": lost, "in_flight": in_flight}
