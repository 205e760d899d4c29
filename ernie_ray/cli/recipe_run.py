"""What every command that runs a recipe does first: its options, the recipe, the folder, Ray.

Does not know what is done by the recipe.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Generic, TypeVar

import click

from ernie_ray.cli.options import address_option, open_storage, storage_option
from ernie_ray.cli.ray_session import connect
from ernie_ray.config import ScalingSection, builtin_recipes, load_recipe_of
from ernie_ray.config.recipe import Section
from ernie_ray.environment import this_machine
from ernie_ray.jobs.storage import Storage

_R = TypeVar("_R", bound=Section)
_NAME_WIDTH = 12


@dataclass(frozen=True)
class RecipeRun(Generic[_R]):
    """One call of such a command.

    Attributes:
        recipe: The resolved recipe.
        folder: Where the run goes, for ``storage``.
        storage: Resolves the recipe's files and the folder.
        address: Ray cluster to join; None: as ``connect`` says.
        shows_progress: Draw progress bars.
        is_verbose: Show Ray's log and what workers print.
    """

    recipe: _R
    folder: str
    storage: Storage
    address: str | None
    shows_progress: bool
    is_verbose: bool

    def ray(self, scaling: ScalingSection, num_runs: int = 1) -> AbstractContextManager[None]:
        """Have Ray while the block runs; one that is started here suits so many runs at a time."""
        num_cpus = scaling.num_local_cpus(this_machine().num_cpus, num_runs)
        return connect(self.address, num_cpus=num_cpus, verbose=self.is_verbose)


def runs_recipe(
    kind: type[_R], folder_name: str = ""
) -> Callable[[Callable[[RecipeRun[_R]], None]], Callable[..., None]]:
    """Make a command of a function that takes a ``RecipeRun``.

    Args:
        kind: Validates the recipe.
        folder_name: Where the built-in recipes of this kind are; empty: those of fine-tuning.
    """
    prefix = f"{folder_name}-" if folder_name else ""

    def decorate(function: Callable[[RecipeRun[_R]], None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(
            recipe: str | None,
            overrides: tuple[str, ...],
            output: str | None,
            storage: str | None,
            address: str | None,
            bad_rows: str | None,
            quiet: bool,
            verbose: bool,
        ) -> None:
            if recipe is None:
                raise click.UsageError("name a RECIPE; --list shows the built-in ones")
            if bad_rows is not None:
                overrides = (*overrides, f"data.bad_rows={bad_rows}")
            settings = load_recipe_of(kind, recipe, overrides, folder_name=folder_name)
            folder = output or f"runs/{prefix}{Path(recipe).stem}"
            place = open_storage(storage)
            place.resolve(folder)  # a path that cannot work is an error before Ray starts
            function(RecipeRun(settings, folder, place, address, not quiet, verbose))

        return _with_options(command, folder_name, f"runs/{prefix}RECIPE")

    return decorate


def _first_sentence(recipe: str) -> str:
    """What a recipe's comment at its top says first."""
    lines = takewhile(lambda line: line.startswith("#"), recipe.splitlines())
    comment = " ".join(line.lstrip("# ") for line in lines)
    return re.split(r"[.?] (?=[A-Z])", comment)[0].rstrip(" .")


def _with_options(
    command: Callable[..., None], folder_name: str, default: str
) -> Callable[..., None]:
    def list_recipes(context: click.Context, _option: click.Parameter, is_asked: bool) -> None:
        if is_asked:
            for name, text in builtin_recipes(folder_name).items():
                click.echo(f"{name:<{_NAME_WIDTH}}{_first_sentence(text)}")
            context.exit()

    for add in (
        address_option,
        storage_option,
        click.option("--verbose", is_flag=True, help="Show Ray's log and what workers print."),
        click.option("--quiet", is_flag=True, help="No progress bars."),
        click.option(
            "--list", is_flag=True, is_eager=True, expose_value=False, callback=list_recipes,
            help="List the built-in recipes.",
        ),
        click.option(
            "--bad-rows", type=click.Choice(["error", "skip"]),
            help="Stop at a row that does not fit, or skip and list it.  "
            "[default: data.bad_rows of the recipe]",
        ),
        click.option("--output", metavar="FOLDER", help=f"Run folder.  [default: {default}]"),
        click.option(
            "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE",
            help="Change a setting, e.g. training.seed=7 or 'data.columns=[\"label\", \"text\"]'; "
            "may be given again.",
        ),
        click.argument("recipe", required=False),
    ):  # fmt: skip
        command = add(command)
    return command
