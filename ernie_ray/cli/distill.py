"""``ernie-ray distill``: one recipe, from labelled rows to a measured student."""

from __future__ import annotations

from pathlib import Path

import click

from ernie_ray.cli.options import address_option, open_storage, storage_option
from ernie_ray.cli.ray_session import connect
from ernie_ray.config import DistillRecipe, builtin_recipes, load_recipe_of


@click.command(name="distill")
@click.argument("recipe", required=False)
@click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a setting."
)
@click.option("--output", metavar="RUN", help="Run folder.  [default: runs/ and the recipe's name]")
@click.option("--list", "list_recipes", is_flag=True, help="List the built-in recipes.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.option("--verbose", is_flag=True, help="Show Ray's log and what workers print.")
@storage_option
@address_option
def command(
    recipe: str | None,
    overrides: tuple[str, ...],
    output: str | None,
    list_recipes: bool,
    quiet: bool,
    verbose: bool,
    storage: str | None,
    address: str | None,
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
    if list_recipes:
        click.echo("\n".join(builtin_recipes("distill")))
        return
    if recipe is None:
        raise click.UsageError("name a RECIPE; --list shows the built-in ones")
    settings = load_recipe_of(DistillRecipe, recipe, overrides, folder_name="distill")
    run = output or f"runs/{Path(recipe).stem}"
    place = open_storage(storage)
    place.resolve(run)  # a path that cannot work is an error before Ray starts
    with connect(address, num_cpus=settings.scaling.num_local_cpus, verbose=verbose):
        from ernie_ray.jobs.distill import distill

        result = distill(settings, run, storage=place, show_progress=not quiet)
    for split, metrics in result.metrics.items():
        click.echo(f"{split}: " + ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
    click.echo(f"run:   {result.run}")
    click.echo(f"model: {result.model}")
