"""Options that several commands share, and what they make of them.

The only place besides ``ray_session`` that reads the environment.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ernie_ray.errors import DataError
from ernie_ray.jobs.storage import Storage, is_submitted_job
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.rows import has_column

storage_option = click.option(
    "--storage",
    envvar="ERNIE_RAY_STORAGE",
    metavar="PATH|URI",
    help="Absolute path or URI that relative paths start from. Needed inside a submitted Ray job, "
    "where it must be reachable from every machine.  [default: the current folder; "
    "env: ERNIE_RAY_STORAGE]",
)
address_option = click.option(
    "--address",
    metavar="HOST:PORT",
    help="Ray cluster to join.  [default: RAY_ADDRESS, else a local Ray for this command]",
)


class _Probability(click.FloatRange):
    """A number from 0 to 1; click's own range lets NaN through."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Refuse what is no number in the range."""
        found = float(super().convert(value, param, ctx))
        if math.isnan(found):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return found


PROBABILITY = _Probability()

bad_rows_option = click.option(
    "--bad-rows",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="Stop at a row that does not fit, or skip and list it.",
)
_SHOWN_SKIPPED = 20


def names_of(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
    """Split names that stand between commas; a callback of options."""
    return tuple(name.strip() for name in value.split(",")) if value else ()


def columns_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name the columns of the texts."""
    pair = click.option(
        "--text-pair-column", metavar="NAME", help="Column of a second text, for pairs."
    )
    text = click.option(
        "--text-column",
        metavar="NAME",
        default="text",
        show_default=True,
        help="Column of the text.",
    )
    header = click.option(
        "--columns",
        metavar="NAME,NAME",
        default="",
        callback=names_of,
        help="Column names of .csv and .tsv files that have no header line.",
    )
    return text(pair(header(command)))


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose how a model directory is run."""
    precision = click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16", "fp16", "int8"]),
        default="auto",
        show_default=True,
        help="Number format of the network; int8 (openvino) is taken on demand only.",
    )
    engine = click.option(
        "--engine",
        type=click.Choice(["auto", "openvino", "onnxruntime", "paddle", "numpy"]),
        default="auto",
        show_default=True,
        help="What runs the network.",
    )
    return engine(precision(command))


def refuse_unknown_label(files: Sequence[DataFile], header: Sequence[str]) -> None:
    """Refuse a ``--label-column`` that this call was given and that no row has.

    Rows may lack their label, so a typing error would pass for files without any.

    Raises:
        DataError: No row has it, or a file cannot be read.
    """
    context = click.get_current_context()
    if context.get_parameter_source("label_column") is ParameterSource.DEFAULT:
        return
    column = context.params["label_column"]
    if not has_column(files, column, header):
        raise DataError(
            f"{files[0].name}{' and all others' * (len(files) > 1)}: no row has the column "
            f"{column!r}; correct --label-column, or leave it out if there are no labels"
        )


def open_storage(root: str | None) -> Storage:
    """Make the storage of a command from the value of ``--storage``.

    Raises:
        ConfigError: The root is a relative path.
    """
    cache = os.environ.get("ERNIE_RAY_CACHE")
    return Storage(
        root or None,
        in_job=is_submitted_job(os.environ),
        download_dir=Path(cache) / "downloads" if cache else None,
    )


def show_skipped(num_skipped: int, skipped: Sequence[str], rows: str = "rows") -> None:
    """List on stderr which bad rows were passed over; ``rows`` says of what."""
    if not num_skipped:
        return
    click.secho(f"skipped {num_skipped} bad {rows}:", fg="yellow", err=True)
    for line in skipped[:_SHOWN_SKIPPED]:
        click.echo(f"  {line}", err=True)
    if num_skipped > _SHOWN_SKIPPED:
        click.echo(f"  and {num_skipped - _SHOWN_SKIPPED} more", err=True)
