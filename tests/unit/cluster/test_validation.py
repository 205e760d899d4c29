"""The cluster, Serve and Kubernetes files: right as they are, and each mistake in one is found."""

import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cluster.__main__ import group
from cluster.kubernetes_fields import field_problems
from cluster.project import ROOT, Project
from cluster.validation import findings

# Ray Serve's own models, when they are imported.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using extra keyword arguments on `Field` is deprecated"
)
CPU, SERVICE, JOB = (
    f"cluster/k8s/{name}.yaml" for name in ("raycluster", "rayservice", "rayjob-finetune")
)


@pytest.fixture
def tree(tmp_path) -> Project:
    """A copy of every checked file, to make mistakes in."""
    for folder in ("cluster", "serve_apps", "requirements"):
        ignored = shutil.ignore_patterns("__pycache__", "*.py")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for path in (*ROOT.glob("ray-cluster*.yaml"), ROOT / "pyproject.toml"):
        shutil.copy(path, tmp_path)
    return Project(tmp_path)


def mistake(tree: Project, file: str, old: str, new: str) -> list[str]:
    """Findings after one replacement of text in a file."""
    path = tree.root / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return [str(finding) for finding in findings(tree)]


def test_the_files_agree(tree):
    assert findings(Project()) == []
    copied = [path.name for path in tree.kubernetes_files()]
    assert {"raycluster.yaml", "rayjob-finetune.yaml", "rayservice.yaml"} < set(copied)
    assert copied == [path.name for path in Project().kubernetes_files()]
    assert findings(tree) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        # The launcher.
        ("ray-cluster.yaml", "    min_workers: 1", "    min_worker: 1", "min_worker"),
        ("ray-cluster.yaml", "max_workers: 12", "max_workers: 20", "can never be reached"),
        ("ray-cluster.yaml", "    min_workers: 1", "    min_workers: 9", "more than max_workers"),
        ("ray-cluster.yaml", "resources: {CPU: 0}", "resources: {CPU: 4}", "no work runs there"),
        ("ray-cluster.yaml", "image: ernie-ray:0.1.0\n", "image: ernie-ray:0.2\n", "is not ernie"),
        ("ray-cluster.yaml", ":0.1.0-gpu", ":0.1.0", "gpu_worker: its GPUs do not fit its image"),
        ("ray-cluster.yaml", "--env RAY_AUTH_MODE=token", "--env RAY_AUTH_MODE=off", "says token"),
        ("ray-cluster.yaml", "- --env RAY_USAGE_STATS_ENABLED=0", "", "STATS_ENABLED=0 is missing"),
        ("ray-cluster.yaml", "--volume /mnt/ernie:/mnt/ernie", "--init", "no --volume mounts"),
        ("ray-cluster.yaml", "~/.ray/auth_token: ~/.ray", "/tmp/x: ~/.ray", "different tokens"),
        ("ray-cluster-onprem.yaml", "max_workers: 3", "max_workers: 4", "than the 3 worker_ips"),
        ("ray-cluster-onprem.yaml", "65536:65536", "1024:1024", "differs from that of ray-cluster"),
        ("ray-cluster-onprem.yaml", "head_ip: 192.0.2.10", "", "ray-cluster-onprem.yaml: "),
        # The image.
        ("cluster/Dockerfile", "RAY_SERVE_ENABLE_HA_PROXY=1", "", "HA_PROXY=1 is missing"),
        ("cluster/Dockerfile", "ENV HOME=/home/ray", "", "mounts the token"),
        ("cluster/Dockerfile", "cpu.lock", "cpus.lock", "cpus.lock, which is not there"),
        ("requirements/gpu.lock", "\nray==", "\nroy==", "gpu.lock: ray: pins no Ray"),
        # Serve.
        ("serve_apps/text_model.yaml", "num_replicas", "num_replica", "does not know this key"),
        ("serve_apps/text_model.yaml", "max_texts", "max_text", "args.limits.max_text: Extra"),
        ("serve_apps/text_model.yaml", "name: TextModels", "name: Texts", "is none of"),
        ("serve_apps/text_model.yaml", "text_model:app", "text_model:apps", "cannot be imported"),
        (SERVICE, "max_ongoing_requests", "max_ongoing", "serveConfigV2.applications.0.depl"),
        # Kubernetes.
        (JOB, "  shutdownAfterJobFinishes: true", "", "needs shutdownAfterJobFinishes"),
        (
            CPU,
            'limits: {cpu: "16"',
            "limits: {cpu: 15500m",
            "request and limit must be given and equal",
        ),
        (CPU, "minReplicas", "minReplica", "spec.workerGroupSpecs.0.minReplica: no such field"),
        (CPU, 'num-cpus: "0"', "num-cpus: 0", "put numbers in quotes"),
        (CPU, "rayVersion: 2.60.0", "rayVersion: 2.59.0", "is 2.59.0, pyproject.toml pins 2.60.0"),
        (CPU, "{mode: token}", "{mode: disabled}", "authOptions.mode: is disabled"),
        (CPU, "replicas: 1\n", "replicas: 9\n", "not minReplicas 1 <= replicas 9"),
        (CPU, "env: *storage", "env: []", "workerGroupSpecs.0.env: differs from that of the head"),
        (CPU, "name: ernie-ray-environment", "name: another", "lacks the ConfigMap"),
        (CPU, "livenessProbe: *alive", "startupProbe: *alive", "livenessProbe: missing"),
        (CPU, ', nvidia.com/gpu: "1"', "", "does not fit the image"),
        (CPU, 'limits: {cpu: "16"', 'limits: {cpu: "17"', "given and equal"),
        (CPU, "claimName: ernie-ray-storage", "claimName: other", "no claim is named 'other'"),
        (CPU, "  name: ernie-ray\n", "  name: renamed\n", "no RayCluster is named 'ernie-ray'"),
        (SERVICE, "max_replicas: 8", "max_replicas: 9", "18 replicas of TextModels"),
        (JOB, "num_workers=2", "num_workers=3", "3 workers with 15 CPUs and 0 GPUs each"),
        (JOB, "cpus_per_worker=15", "cpus_per_worker=17", "the pods have room for 0"),
        (JOB, "scaling.num_workers", "scaling.workers", "spec.entrypoint: "),
        (JOB, "ernie_ray finetune", "ernie_ray finetunes", "no command 'finetunes'"),
        (JOB, "--output runs", "--outputs runs", "spec.entrypoint: No such option"),
        ("cluster/k8s/environment.yaml", "PROXY: '1'", "PROXY: '0'", "the table says 1"),
    ],
)
def test_a_mistake_is_found(tree, file, old, new, expected):
    found = mistake(tree, file, old, new)
    matching = [line for line in found if expected in line]
    assert matching, found
    assert all("\n" not in line for line in matching)


def test_another_ray_in_pyproject_is_found_everywhere(tree):
    found = mistake(tree, "pyproject.toml", "]==2.60.0", "]==2.61.0")
    files = {line.split(":")[0] for line in found}
    assert {"requirements/cpu.lock", "requirements/dev.lock", CPU, SERVICE, JOB} <= files


def test_the_rendered_files_are_the_committed_ones():
    printed = CliRunner().invoke(group, ["render", "kubernetes"]).output
    assert (ROOT / "cluster/k8s/environment.yaml").read_text(encoding="utf-8") == printed
    launcher = CliRunner().invoke(group, ["render", "launcher"]).output
    assert all(launcher in path.read_text(encoding="utf-8") for path in Project().launcher_files())
    docker = CliRunner().invoke(group, ["render", "docker"]).output.replace("ENV ", "").splitlines()
    assert all(word in Project().dockerfile().read_text(encoding="utf-8") for word in docker)
    shell = CliRunner().invoke(group, ["render", "shell"]).output
    assert shell.splitlines() == [f"export {pair}" for pair in docker]


def test_the_command_gives_one_line_for_each_finding_and_fails(tree):
    good = CliRunner().invoke(group, ["validate", "--root", str(tree.root)])
    assert good.exit_code == 0, good.output
    assert "agree" in good.output
    mistake(tree, CPU, "rayVersion: 2.60.0", "rayVersion: 2.59.0")
    bad = CliRunner().invoke(group, ["validate", "--root", str(tree.root)])
    assert bad.exit_code == 1
    assert bad.output == (f"{CPU}: spec.rayVersion: is 2.59.0, pyproject.toml pins 2.60.0\n")


CRD = """
kind: CustomResourceDefinition
spec:
  group: ray.io
  names: {kind: RayCluster}
  versions:
    - name: v1
      schema:
        openAPIV3Schema:
          type: object
          properties:
            apiVersion: {type: string}
            kind: {type: string}
            metadata: {type: object}
            spec:
              type: object
              properties:
                rayVersion: {type: string}
                anything: {type: object, x-kubernetes-preserve-unknown-fields: true}
                port: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}]}
"""


def test_crds_in_a_folder_decide_and_refuse_what_kubernetes_would_drop(tmp_path: Path):
    (tmp_path / "ray.io_rayclusters.yaml").write_text(CRD)
    document = yaml.safe_load(
        "{apiVersion: ray.io/v1, kind: RayCluster, metadata: {name: a},"
        " spec: {rayVersion: 2.60.0, anything: {a: 1}, port: 8000, managedBy: me}}"
    )
    ((place, problem),) = field_problems(document, tmp_path)
    assert place == "spec"
    assert "managedBy" in problem
    document["spec"].pop("managedBy")
    assert list(field_problems(document, tmp_path)) == []
    document["spec"]["port"] = {}
    assert [place for place, _ in field_problems(document, tmp_path)] == ["spec.port"]
