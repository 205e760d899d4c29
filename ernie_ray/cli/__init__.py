"""The command line: one file per verb, imported only when it is called.

``ernie-ray --help`` must not wait for Ray or Paddle to load.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from typing import Any

import click

from ernie_ray import __version__
from ernie_ray.errors import ErnieRayError

COMMANDS = {
    "tour": "Everything once, small, on real text: train, distil, serve, ask, load.",
    "finetune": "Fine-tune a pretrained encoder by a recipe, export it, measure it.",
    "tune": "Search a recipe's settings: many trials, a table, the best recipe.",
    "augment": "Make noisy copies of rows for a student to learn from.",
    "label": "Give rows the logits of a teacher.",
    "distill": "Train a fast student by a recipe, from a teacher's logits, labels or both.",
    "slim": "Augment, label, distil and measure by a recipe: from a teacher to a table.",
    "tiny": "Distil a teacher into a shallow, wide encoder over short input, and measure it.",
    "export": "Turn a run's checkpoint, or pretrained weights, into a model directory.",
    "evaluate": "Measure a model directory on labelled rows.",
    "predict": "Give texts their labels, scores and vectors.",
    "serve": "Serve model directories over HTTP.",
    "api-key": "Make an API key for a service.",
    "promote": "Make an alias mean a model directory that is good enough.",
    "rollback": "Make an alias mean what it meant before.",
    "models": "List registered models, their versions and aliases.",
    "env": "Print the environment that Ray processes need.",
}


class LazyGroup(click.Group):
    """A group whose commands are modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a reader's first day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command's module."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"ernie_ray.cli.{cmd_name.replace('-', '_')}")
        return with_marks(module.command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def with_marks(command: click.Command) -> click.Command:
    """Put click's mark before examples, which keeps their lines, where the docstring writes it.

    Docstrings with a backslash are raw, and in those the mark is two characters.
    """
    command.help = (command.help or "").replace("\\b\n", "\b\n")
    return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ernie-ray")
def group() -> None:
    r"""Fine-tune an ERNIE encoder on Ray, and serve its vectors and scores.

    \b
    Examples:
      ernie-ray tour
      ernie-ray finetune classify --set data.train=train.jsonl --set data.dev=dev.jsonl
      ernie-ray serve runs/classify/model
    """


with_marks(group)


def main() -> None:
    """Run a command; an error that the user can mend is one line, without a traceback."""
    # Libraries' remarks on their own insides: useless to a reader, and in front of the answer.
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", module=r"paddle\.")
    logging.getLogger("paddle2onnx").setLevel(logging.WARNING)
    try:
        exit_code: Any = group.main(prog_name="ernie-ray", standalone_mode=False)
    except ErnieRayError as error:
        fail(f"{type(error).__name__}: {error}", 1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        fail("interrupted; what is finished is kept, the same command goes on from there", 130)
    sys.exit(exit_code if isinstance(exit_code, int) else 0)


def fail(message: str, exit_code: int) -> None:
    """End the process with a message on stderr."""
    click.secho(f"ernie-ray: {message}", fg="red", err=True)
    sys.exit(exit_code)
