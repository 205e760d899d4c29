"""Targets by the names that ``--targets`` takes. A new one is one entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from loadtests.errors import ScenarioError
from loadtests.targets.ours import Ours
from loadtests.targets.peers import OneJobOneBatch, PeerTarget, peers
from loadtests.targets.target import Start, Target
from loadtests.targets.url import UrlTarget

_BUILDERS: dict[str, Callable[[Start], Target]] = {
    "ours": lambda start: Ours("ours", "vectors", start),
    "ours-openai": lambda start: Ours("ours-openai", "openai", start),
    "ours-infer": lambda start: Ours("ours-infer", "infer", start),
    "ours-grpc": lambda start: Ours("ours-grpc", "grpc", start),
    "one-job-one-batch": lambda start: OneJobOneBatch("one-job-one-batch", start),
    "one-job-one-batch-http": lambda start: OneJobOneBatch("one-job-one-batch-http", start),
    **{name: partial(PeerTarget, name) for name in peers()},
}


def target_names() -> list[str]:
    """Names that are known."""
    return list(_BUILDERS)


def make_target(name: str, start: Start, settings: tuple[str, ...] = ()) -> Target:
    """A target by its name or URL.

    Args:
        name: One of ``target_names()``, or a URL.
        start: What it needs to start.
        settings: ``TARGET.KEY=VALUE`` of all targets.

    Raises:
        ScenarioError: There is no such target.
    """
    if "://" in name:
        return UrlTarget(name)
    if name not in _BUILDERS:
        raise ScenarioError(f"no target {name}; choose among {', '.join(_BUILDERS)}, or give a URL")
    options = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        target, dot, option = key.partition(".")
        if not (equals and dot and option):
            raise ScenarioError(f"--set {setting}: write TARGET.KEY=VALUE")
        if target == name:
            options[option] = value
    return _BUILDERS[name](replace(start, options=options))
