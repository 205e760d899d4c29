"""``ernie-ray finetune``: one recipe, from rows to a measured model directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ernie_ray.cli.options import named, open_storage, recipe_options
from ernie_ray.cli.ray_session import connect
from ernie_ray.config import builtin_recipes, load_recipe


@click.command(name="finetune")
@click.option("--output", metavar="RUN", help="Run folder.  [default: runs/ and the recipe's name]")
@recipe_options
def command(
    recipe: str | None, overrides: tuple[str, ...], output: str | None, **options: Any
) -> None:
    r"""Fine-tune by RECIPE, a built-in name or a TOML file.

    Reads and tokenizes the rows, trains on Ray, keeps the best checkpoint, exports it as a model
    directory and measures that on the test rows. The same command again goes on where an
    interrupted run stopped.

    \b
    Examples:
      ernie-ray finetune --list
      ernie-ray finetune classify --set data.train=train.jsonl --set data.dev=dev.jsonl
      ernie-ray finetune mine.toml --set scaling.num_workers=4 --output runs/first
      ray job submit --working-dir . -- python -m ernie_ray finetune mine.toml --storage /mnt/share
    """
    if options["list_recipes"]:
        click.echo("\n".join(builtin_recipes()))
        return
    recipe = named(recipe)
    settings = load_recipe(recipe, overrides)
    run = output or f"runs/{Path(recipe).stem}"
    place = open_storage(options["storage"])
    place.resolve(run)  # a path that cannot work is an error before Ray starts
    with connect(
        options["address"],
        num_cpus=settings.scaling.num_local_cpus,
        verbose=options["verbose"],
    ):
        from ernie_ray.jobs.finetune import finetune

        result = finetune(settings, run, storage=place, show_progress=not options["quiet"])
    for split, metrics in result.metrics.items():
        click.echo(f"{split}: " + ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
    click.echo(f"run:   {result.run}")
    click.echo(f"model: {result.model}")
