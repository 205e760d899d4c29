"""Every command that the documents show is one: its words are read by the program it names."""

import re
import shlex
from contextlib import suppress
from pathlib import Path

import click
import pytest
from click.exceptions import Exit

from cluster.__main__ import group as cluster_group
from ernie_ray.cli import group as library_group
from loadtests.cli import main as loadtests_group

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "loadtests/README.md", "docs/scaling.md",
             "docs/serving.md", "docs/fine-tuning.md", "docs/distillation.md",
             *(f"cluster/k8s/{p.name}" for p in ROOT.glob("cluster/k8s/*.yaml")),
             "ray-cluster.yaml", "ray-cluster-onprem.yaml"]  # fmt: skip
GROUPS = {
    "ernie-ray": library_group,
    "python -m ernie_ray": library_group,
    "python -m cluster": cluster_group,
    "python -m loadtests": loadtests_group,
}


def lines_of(document):
    """Lines of code blocks, and what stands in backquotes."""
    text = (ROOT / document).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [
        line for block in re.findall(r"```\w+\n(.*?)```", text, re.S) for line in block.splitlines()
    ]
    return lines + re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))


def commands():
    """Document, program and arguments of what our own programs are asked there."""
    program = "|".join(map(re.escape, GROUPS))
    for document in DOCUMENTS:
        for line in lines_of(document):
            for found in re.finditer(rf"(?:^|[\s(]|-- )({program}) ([a-z][^|&)#]*)", line):
                if "..." not in found.group(2):
                    yield document, found.group(1), found.group(2).strip()


@pytest.mark.parametrize(("document", "program", "arguments"), sorted(set(commands())))
def test_a_command_of_the_documents_is_understood(document, program, arguments):
    group = GROUPS[program]
    verb, *words = shlex.split(arguments)
    command = group.get_command(click.Context(group), verb)
    assert command is not None, f"{document}: {program} has no command {verb}"
    if words:  # a name alone is a mention, not a command line
        with suppress(Exit):  # of options that print something and end
            command.make_context(verb, words)


def test_every_make_target_of_the_documents_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {
        name for line in re.findall(r"^([a-z -]+):", makefile, re.M) for name in line.split()
    }
    named = {
        found
        for document in DOCUMENTS
        for line in lines_of(document)
        for found in re.findall(r"(?:^|`)make ([a-z-]+)", line)
    }
    assert {"tour", "test"} <= named <= targets
