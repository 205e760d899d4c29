"""``ernie-ray finetune``: one recipe, from rows to a measured model directory."""

from __future__ import annotations

from pathlib import Path

import click

from ernie_ray.cli.options import address_option, open_storage, storage_option
from ernie_ray.cli.ray_session import connect
from ernie_ray.config import builtin_recipes, load_recipe


@click.command(name="finetune")
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
    if list_recipes:
        click.echo("\n".join(builtin_recipes()))
        return
    if recipe is None:
        raise click.UsageError("name a RECIPE; --list shows the built-in ones")
    settings = load_recipe(recipe, overrides)
    run = output or f"runs/{Path(recipe).stem}"
    place = open_storage(storage)
    place.resolve(run)  # a path that cannot work is an error before Ray starts
    with connect(address, num_cpus=settings.scaling.num_local_cpus, verbose=verbose):
        from ernie_ray.jobs.finetune import finetune

        result = finetune(settings, run, storage=place, show_progress=not quiet)
    for split, metrics in result.metrics.items():
        click.echo(f"{split}: " + ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
    click.echo(f"run:   {result.run}")
    click.echo(f"model: {result.model}")
