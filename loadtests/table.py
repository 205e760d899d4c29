"""A comparison as one Markdown table, for docs/results."""

from __future__ import annotations

from loadtests.results import Comparison, over_rounds, spread
from loadtests.scenario import Metric

_COLUMNS: dict[Metric, str] = {
    "qps": "requests/s",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "cpu_s_per_1000_texts": "CPU s per 1,000 texts",
}


def to_markdown(comparison: Comparison) -> str:
    """Medians over rounds, the smallest and largest in brackets."""
    lines = [
        f"# {comparison.scenario.name}",
        "",
        comparison.scenario.description,
        "",
        f"Command: `{comparison.command}`  ",
        f"Commit: {comparison.commit or 'unknown'}; date: {comparison.date}  ",
        f"Machine: {comparison.machine}; rounds: {comparison.scenario.rounds}",
        "",
        "| phase | lane | target | " + " | ".join(_COLUMNS.values()) + " |",
        "|---|---|---|" + "---:|" * len(_COLUMNS),
    ]
    for step in comparison.scenario.steps():
        for lane in step.levels:
            for target in comparison.targets:
                found = [
                    spread(over_rounds(target, step.name, lane, metric)) for metric in _COLUMNS
                ]
                cells = ["-" if one is None else str(one) for one in found]
                lines.append("| " + " | ".join([step.name, lane, target.name, *cells]) + " |")
    notes = [
        f"- {one.name}: not measured: {one.unavailable}"
        for one in comparison.targets
        if one.unavailable
    ]
    flagged = sum(
        bool(step.warnings) for one in comparison.targets for r in one.rounds for step in r.steps
    )
    if flagged:
        notes.append(f"- {flagged} phases with a warning about the generator; see the report.")
    return "\n".join([*lines, "", *notes]).rstrip() + "\n"
