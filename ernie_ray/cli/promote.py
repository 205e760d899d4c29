"""``ernie-ray promote``: make an alias mean a candidate that is good enough."""

from __future__ import annotations

from typing import Any

import click

from ernie_ray.cli.options import engine_options, open_storage, storage_option
from ernie_ray.errors import ConfigError


@click.command(name="promote")
@click.argument("candidate")
@click.argument("name")
@click.option("--alias", default="production", show_default=True, help="Alias to move.")
@click.option("--version", default="", help="Version of a new candidate.  [default: the next]")
@click.option(
    "--min", "least", multiple=True, metavar="SPLIT.METRIC=VALUE", help="Smallest value allowed."
)
@click.option(
    "--max-drop",
    multiple=True,
    metavar="SPLIT.METRIC=VALUE",
    help="How much less than the alias's present model is allowed.",
)
@click.option(
    "--min-cosine",
    default=0.0,
    type=click.FloatRange(-1, 1),
    help="Smallest cosine of the engine's vectors to the trained network's.  [default: as the "
    "manifest says]",
)
@engine_options
@storage_option
def command(candidate: str, name: str, **options: Any) -> None:
    r"""Make NAME's alias mean CANDIDATE: a model directory, or a version of NAME.

    Refused, with nothing changed, if the candidate's metrics or its engine's parity fall short of
    a stated bound. A new candidate is copied to models/NAME/VERSION first.

    \b
    Examples:
      ernie-ray promote runs/reviews/model reviews --min dev.accuracy=0.9
      ernie-ray promote runs/second/model reviews --max-drop dev.accuracy=0.005 --min-cosine 0.999
      ernie-ray promote 1 reviews --alias staging
      ernie-ray serve reviews@production
    """
    from ernie_ray.jobs.registry import Bounds, promote

    bounds = Bounds(
        min_metrics=_values("--min", options["least"]),
        max_drop=_values("--max-drop", options["max_drop"]),
        min_cosine=options["min_cosine"],
        engine=options["engine"],
        precision=options["precision"],
    )
    alias = promote(
        candidate,
        name,
        options["alias"],
        bounds=bounds,
        storage=open_storage(options["storage"]),
        version=options["version"],
    )
    click.echo(f"{name}@{options['alias']}: version {alias.version}")


def _values(option: str, pairs: tuple[str, ...]) -> dict[str, float]:
    values = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        try:
            values[key] = float(value)
        except ValueError:
            sign = ""
        if not sign or "." not in key:
            raise ConfigError(f"{option} {pair}: give SPLIT.METRIC=VALUE, as dev.accuracy=0.9")
    return values
