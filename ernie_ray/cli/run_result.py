"""What a training command prints at its end: rows, warm start, metrics, and where things are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ernie_ray.cli.options import show_skipped

if TYPE_CHECKING:
    from ernie_ray.jobs.finetune import FinetuneResult
    from ernie_ray.jobs.run_facts import SplitFacts


def show_run(result: FinetuneResult) -> None:
    """Print what a run came to; skipped rows go to stderr."""
    from ernie_ray.jobs.report_parts import warm_start_line

    for split, facts in result.facts.rows.items():
        click.echo(f"{split} rows: {_counts(facts)}")
        show_skipped(facts.num_skipped, facts.skipped, f"{split} rows")
    if result.facts.warm_start is not None:
        click.echo(f"warm start: {warm_start_line(result.facts.warm_start.model_dump())}")
    for split, metrics in result.metrics.items():
        click.echo(f"{split}: " + ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
    click.echo(f"run:   {result.run}")
    click.echo(f"model: {result.model}")


def _counts(facts: SplitFacts) -> str:
    counts = {"skipped": facts.num_skipped, "truncated": facts.num_truncated or 0}
    shown = [f"{count:,} {what}" for what, count in counts.items() if count]
    remarks = [f"{count:,} {note}" for note, count in facts.notes.items()]
    return "; ".join([f"{facts.num_rows:,} used", *shown, *remarks])
