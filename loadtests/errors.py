"""Errors that the command line shows as one line; messages say what to change.

LoadTestError
  + ScenarioError              a scenario file or an option is wrong
  + TargetUnavailableError     a target cannot be installed or does not start: reported
"""

from __future__ import annotations


class LoadTestError(Exception):
    """Base of what this package raises on purpose."""


class ScenarioError(LoadTestError, ValueError):
    """A scenario file or an option is wrong."""


class TargetUnavailableError(LoadTestError):
    """A target cannot be installed or does not start; the report says so and why."""
