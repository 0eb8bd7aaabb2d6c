"""What the supervisor knows, across restarts."""

from __future__ import annotations

import pytest

from eventveil.stream.pipeline.status import Status
from eventveil.stream.runtime.reporting import StageReport


@pytest.mark.parametrize(("reread", "total"), [(False, 9), (True, 4)])
def test_omissions_of_a_loop_are_counted_on_after_a_crash(reread, total):
    """A loop goes on where it was; a recording is read again from its beginning, and counts what it counted before."""
    status = Status()
    for life, omitted in ((1, 2), (1, 5), (2, 1), (2, 4)):
        report = StageReport(stage="histogram:0", life=life, kind="beat", omissions={"invalid event": omitted})
        status.take(report, reread=reread)
    assert status.omissions() == {"invalid event": total}
