"""Targets by name: how each server is installed, started, asked and stopped."""

from loadtests.targets.registry import make_target, target_names
from loadtests.targets.target import Running, Target

__all__ = ["Running", "Target", "make_target", "target_names"]
