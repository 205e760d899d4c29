"""What a job's command line asks for: parsed by the library's own commands, and not run.

Knows the commands' options; not what is in the files that they name.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import click

from ernie_ray.cli import group
from ernie_ray.config import load_recipe
from ernie_ray.errors import ErnieRayError

_PREFIX = ["python", "-m", "ernie_ray"]


@dataclass(frozen=True)
class JobNeeds:
    """Equal processes that must run at the same time.

    Attributes:
        count: How many.
        num_cpus: CPUs of each.
        num_gpus: GPUs of each.
    """

    count: int
    num_cpus: float
    num_gpus: float


def entrypoint_needs(entrypoint: str) -> JobNeeds | None:
    """Parse a job's command.

    Args:
        entrypoint: As in a RayJob.

    Returns:
        What it needs at least; None if it does not say.

    Raises:
        ValueError: No such command or option, or the recipe's settings do not fit together.
    """
    words = shlex.split(entrypoint)
    if words[:3] != _PREFIX or len(words) < 4:
        raise ValueError(f"is not `{' '.join(_PREFIX)} COMMAND ...`")
    verb, arguments = words[3], words[4:]
    command = group.get_command(click.Context(group), verb)
    if command is None:
        raise ValueError(f"ernie-ray has no command {verb!r}")
    try:
        given = command.make_context(verb, arguments).params
        if verb == "finetune":
            scaling = load_recipe(given["recipe"], given["overrides"]).scaling
            num_gpus = 1 if scaling.use_gpu else 0
            return JobNeeds(scaling.min_workers, scaling.cpus_per_worker or 1, num_gpus)
    except click.ClickException as error:
        raise ValueError(error.format_message()) from error
    except ErnieRayError as error:
        raise ValueError(str(error)) from error
    actors = given.get("num_actors")
    return JobNeeds(actors, 1, 0) if actors else None
