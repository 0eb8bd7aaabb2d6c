"""Fixtures of the tests of the audit."""

from __future__ import annotations

import audit_reports
import pytest


@pytest.fixture
def report():
    """A report of two audited subjects beside raw windows."""
    return audit_reports.report()
