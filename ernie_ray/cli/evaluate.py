"""``ernie-ray evaluate``: how good a model directory is on labelled rows."""

from __future__ import annotations

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
from ernie_ray.tasks.tables import Tables
from ernie_ray.text.row_schema import RowSchema

_MAX_SHOWN = 30


@click.command(name="evaluate")
@click.argument("model_dir")
@click.argument("input_name", metavar="INPUT")
@click.option("--label-column", default="label", show_default=True, help="Column of the label.")
@click.option("--query-column", metavar="NAME", help="Column of what a ranking's rows belong to.")
@click.option("--output", metavar="FILE", help="Also write the result here, as JSON.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@columns_options
@bad_rows_option
@engine_options
@storage_option
def command(
    model_dir: str,
    input_name: str,
    label_column: str,
    query_column: str | None,
    output: str | None,
    **options: Any,
) -> None:
    r"""Measure MODEL_DIR on the labelled rows of INPUT.

    INPUT is a file, a folder or a glob of .jsonl, .csv, .tsv, SQuAD's .json (also .gz) and
    .parquet. Classifiers and taggers also show each class, and classes against each other.

    \b
    Examples:
      ernie-ray evaluate models/reviews test.jsonl
      ernie-ray evaluate models/reviews test.tsv --text-column text_a --output test.json
      ernie-ray evaluate models/entities test.jsonl --text-column tokens --label-column labels
      ernie-ray evaluate models/reader dev.json --text-column question \
        --text-pair-column context --label-column answers
    """
    from ernie_ray.jobs.evaluate import measure
    from ernie_ray.jobs.predict import RunOptions
    from ernie_ray.jobs.registry import find_model
    from ernie_ray.jobs.runs import write_json

    place = open_storage(options["storage"])
    if output is not None:
        place.check_output(output)
    rows = place.resolve(input_name)
    found = find_model(model_dir, place)
    result = measure(
        place.fetch(found),
        rows,
        RowSchema(
            options["text_column"],
            options["text_pair_column"],
            label_column,
            query=query_column,
            header=options["columns"],
        ),
        options=RunOptions(options["engine"], options["precision"], options["bad_rows"]),
        show_progress=not options["quiet"],
    )
    show_skipped(result.num_skipped, result.skipped)
    width = max(map(len, result.metrics))
    for name, value in result.metrics.items():
        click.echo(f"{name:<{width}}  {value:.4f}")
    _show_tables(result.tables)
    rate = result.num_rows / max(result.seconds, 1e-9)
    click.echo(f"{result.num_rows} rows, {rate:.0f} rows/s ({result.engine})")
    if output is not None:
        record = {
            "model": str(found),  # NAME@ALIAS may mean another version tomorrow
            "rows": str(rows),
            **result.as_json(),
        }
        write_json(record, output, place)


def _show_tables(tables: Tables) -> None:
    """Print a line per class, and small confusion matrices (rows: true, columns: given)."""
    if not tables.classes:
        return
    width = max(len("class"), *(len(line.label) for line in tables.classes))
    click.echo(f"{'class':<{width}}  precision  recall      f1  rows")
    for line in tables.classes[:_MAX_SHOWN]:
        numbers = f"{line.precision:9.4f}  {line.recall:6.4f}  {line.f1:6.4f}  {line.support}"
        click.echo(f"{line.label:<{width}}  {numbers}")
    if len(tables.classes) > _MAX_SHOWN:
        click.echo(f"and {len(tables.classes) - _MAX_SHOWN} more classes; --output FILE has all")
    if len(tables.confusion) > _MAX_SHOWN:
        click.echo("classes against each other: too many to show; --output FILE has them")
    elif tables.confusion:
        click.echo("true class (down) and given class (across, same order)")
        size = max(len(str(count)) for row in tables.confusion for count in row)
        for line, row in zip(tables.classes, tables.confusion, strict=True):
            click.echo(f"{line.label:<{width}}  " + " ".join(f"{count:>{size}}" for count in row))
