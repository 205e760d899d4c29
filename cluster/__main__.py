"""`python -m cluster`: render the environment, check every file, start a cluster on one machine."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from cluster.project import ROOT, Project
from cluster.rendering import FORMS
from ernie_ray.cli import with_marks
from ernie_ray.environment import cluster_environment
from ernie_ray.errors import ErnieRayError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    r"""What machines need before ernie-ray runs on them.

    \b
    Examples:
      python -m cluster validate
      python -m cluster render kubernetes > cluster/k8s/environment.yaml
      python -m cluster local --nodes 3
    """


@group.command()
@click.argument("form", type=click.Choice(list(FORMS)))
def render(form: str) -> None:
    r"""Print the environment that all nodes of a cluster share.

    \b
    Examples:
      eval "$(python -m cluster render shell)" && ray start --head
      python -m cluster render docker
      python -m cluster render launcher     # for docker.run_options of `ray up`
      python -m cluster render kubernetes > cluster/k8s/environment.yaml
    """
    click.echo(FORMS[form](cluster_environment()), nl=False)


@group.command()
@click.option(
    "--crds",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of KubeRay's CRDs (helm-chart/kuberay-operator/crds of its repository).  "
    "[default: the fields of cluster/kuberay_fields.yaml]",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=ROOT,
    help="Working tree to check.  [default: this one]",
)
def validate(crds: Path | None, root: Path) -> None:
    r"""Check the cluster, Serve and Kubernetes files and the image, without any cluster.

    One line for each thing that is wrong, and exit status 1; nothing but a count otherwise.

    \b
    Examples:
      python -m cluster validate
      python -m cluster validate --crds kuberay/helm-chart/kuberay-operator/crds
    """
    from cluster.validation import findings

    project = Project(root.resolve())
    found = findings(project, crds)
    for finding in found:
        click.echo(str(finding), err=True)
    if found:
        sys.exit(1)
    checked = (project.launcher_files(), project.kubernetes_files(), project.serve_files())
    click.echo(f"{sum(map(len, checked))} YAML files, the image and its locks agree")


@group.command()
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1), help="Raylets.")
@click.option("--cpus", default=2, show_default=True, type=click.IntRange(0), help="Of each node.")
@click.option(
    "--gpus",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Of each node; only logical, to see where work would go.",
)
@click.option(
    "--auth",
    type=click.Choice(["token", "disabled"]),
    default="token",
    show_default=True,
    help="disabled: whoever reaches this machine's ports can run code on it.",
)
def local(nodes: int, cpus: int, gpus: int, auth: str) -> None:
    r"""Start a Ray of several nodes on this machine, until Ctrl-C, which ends it and nothing else.

    CPUs and GPUs are logical. Every port is a free one. Paste the printed line into another shell;
    the same commands then go to this cluster as to a real one. Killing a raylet by the printed pid
    is what a machine's failure looks like.

    \b
    Examples:
      python -m cluster local --nodes 3 --cpus 2
      python -m cluster local --gpus 1 --auth disabled
      ray job submit --working-dir . -- python -m ernie_ray finetune mine.toml --storage /mnt/share
      serve deploy serve_apps/text_model.yaml
    """
    from cluster.local_cluster import Shape, local_cluster

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shape = Shape(nodes, cpus, gpus, uses_token=auth == "token")
    click.echo(f"starting {nodes} nodes ...", err=True)
    with local_cluster(shape) as cluster:
        click.echo(f"cluster: {cluster.address}")
        click.echo(f"jobs and dashboard: {cluster.jobs_url}")
        for number, node in enumerate(cluster.nodes):
            kind = "head" if number == 0 else f"node {number}"
            click.echo(f"{kind}: raylet pid {node.raylet_pid}, node id {node.node_id}")
        click.echo(cluster.export_line())
        sys.stdout.flush()
        try:
            cluster.nodes[0].process.wait()
            raise ErnieRayError("the head ended; start the cluster again")
        except KeyboardInterrupt:
            click.echo("stopping ...", err=True)


for _command in (group, *group.commands.values()):
    with_marks(_command)


def main() -> None:
    """Run a command; an error that the user can mend is one line, without a traceback."""
    try:
        group.main(prog_name="python -m cluster", standalone_mode=False)
    except ErnieRayError as error:
        click.secho(f"cluster: {error}", fg="red", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


if __name__ == "__main__":
    main()
