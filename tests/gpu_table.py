"""Pytest plugin of `make gpu-check`: every test in one table, with its outcome and why."""

from __future__ import annotations

from typing import Any

_OUTCOMES = ("passed", "failed", "error", "skipped")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table after pytest's own lines."""
    rows = [("test", "outcome", "measured, or why not")]
    for outcome in _OUTCOMES:
        for report in terminalreporter.stats.get(outcome, []):
            rows.append((report.nodeid.rpartition("::")[2], outcome, _note(report)))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    terminalreporter.section("GPU check")
    for name, outcome, note in rows:
        terminalreporter.write_line(f"{name:{widths[0]}}  {outcome:{widths[1]}}  {note}".rstrip())


def _note(report: Any) -> str:
    if report.skipped:
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    if report.failed:
        return str(getattr(report.longrepr, "reprcrash", report.longrepr)).splitlines()[0]
    return ", ".join(f"{name}: {value}" for name, value in report.user_properties)
