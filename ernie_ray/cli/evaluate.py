"""``ernie-ray evaluate``: how good a model directory is on labelled rows."""

from __future__ import annotations

import json
from typing import Any

import click

from ernie_ray.cli.options import (
    bad_rows_option,
    columns_options,
    engine_options,
    open_storage,
    show_skipped,
    storage_option,
)
from ernie_ray.text.rows import RowSchema


@click.command(name="evaluate")
@click.argument("model_dir")
@click.argument("input_name", metavar="INPUT")
@click.option("--label-column", default="label", show_default=True, help="Column of the label.")
@click.option("--output", metavar="FILE", help="Also write the result here, as JSON.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@columns_options
@bad_rows_option
@engine_options
@storage_option
def command(
    model_dir: str, input_name: str, label_column: str, output: str | None, **options: Any
) -> None:
    r"""Measure MODEL_DIR on the labelled rows of INPUT.

    INPUT is a file, a folder or a glob of .jsonl, .csv, .tsv (also .gz) and .parquet.

    \b
    Examples:
      ernie-ray evaluate models/reviews test.jsonl
      ernie-ray evaluate models/reviews test.tsv --text-column text_a --output test.json
    """
    from ernie_ray.jobs.evaluate import measure
    from ernie_ray.jobs.predict import RunOptions
    from ernie_ray.jobs.registry import find_model
    from ernie_ray.jobs.storage import staging_path

    place = open_storage(options["storage"])
    rows = place.resolve(input_name)
    result = measure(
        place.fetch(find_model(model_dir, place)),
        rows,
        RowSchema(options["text_column"], options["text_pair_column"], label_column),
        options=RunOptions(options["engine"], options["precision"], options["bad_rows"]),
        show_progress=not options["quiet"],
    )
    show_skipped(result.num_skipped, result.skipped)
    width = max(map(len, result.metrics))
    for name, value in result.metrics.items():
        click.echo(f"{name:<{width}}  {value:.4f}")
    rate = result.num_rows / max(result.seconds, 1e-9)
    click.echo(f"{result.num_rows} rows, {rate:.0f} rows/s ({result.engine})")
    if output is not None:
        record = {
            "model": str(place.resolve(model_dir)),
            "rows": str(rows),
            "num_rows": result.num_rows,
            "num_skipped": result.num_skipped,
            "engine": result.engine,
            "metrics": result.metrics,
        }
        staging = staging_path(place.resolve(output))
        staging.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", "utf-8")
        place.publish(staging, output)
