"""``ernie-ray distill``: one recipe, from labelled rows to a measured student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ernie_ray.cli.options import named, open_storage, recipe_options
from ernie_ray.cli.ray_session import connect
from ernie_ray.config import DistillRecipe, builtin_recipes, load_recipe_of


@click.command(name="distill")
@click.option("--output", metavar="RUN", help="Run folder.  [default: runs/ and the recipe's name]")
@recipe_options
def command(
    recipe: str | None, overrides: tuple[str, ...], output: str | None, **options: Any
) -> None:
    r"""Train a student by RECIPE, a built-in name or a TOML file.

    The student (bag of words, CNN or LSTM) learns from the teacher's logits that `ernie-ray label`
    wrote beside the rows, from their labels, or from both. It is exported as a model directory
    that predict, evaluate and serve take, and measured on the test rows.

    \b
    Examples:
      ernie-ray distill --list
      ernie-ray distill bow --set data.train=labelled --set data.dev=dev.jsonl
      ernie-ray distill bow --set data.train=train.jsonl --set data.teacher_logits_column= \
        --set data.dev=dev.jsonl --output runs/plain
    """
    if options["list_recipes"]:
        click.echo("\n".join(builtin_recipes("distill")))
        return
    recipe = named(recipe)
    settings = load_recipe_of(DistillRecipe, recipe, overrides, folder_name="distill")
    run = output or f"runs/{Path(recipe).stem}"
    place = open_storage(options["storage"])
    place.resolve(run)  # a path that cannot work is an error before Ray starts
    with connect(
        options["address"],
        num_cpus=settings.scaling.num_local_cpus,
        verbose=options["verbose"],
    ):
        from ernie_ray.jobs.distill import distill

        result = distill(settings, run, storage=place, show_progress=not options["quiet"])
    for split, metrics in result.metrics.items():
        click.echo(f"{split}: " + ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
    click.echo(f"run:   {result.run}")
    click.echo(f"model: {result.model}")
