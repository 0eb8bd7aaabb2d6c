"""Fixtures for the tests of the audit."""

from __future__ import annotations

import audit_reports
import pytest


@pytest.fixture
def report():
    """Return a report of two audited subjects and raw windows."""
    return audit_reports.report()
