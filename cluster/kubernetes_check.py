"""Checks of the Kubernetes files: fields, versions, equal environments, bounds, resource sums.

Speaks to no cluster. Knows what KubeRay makes of the files only as far as its documentation says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.entrypoint import JobNeeds, entrypoint_needs
from cluster.kubernetes_fields import field_problems
from cluster.project import GPU_IMAGE, STORAGE, Finding, Project, check_environment, read_documents
from cluster.rendering import CONFIG_MAP
from cluster.serve_check import check_serve_config, replicas
from ernie_ray.environment import cluster_environment

_GPU = "nvidia.com/gpu"
_CLUSTER_KEYS = {"RayCluster": "", "RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}


@dataclass(frozen=True)
class Pods:
    """One group of equal pods.

    Attributes:
        where: Its place in the document.
        spec: Pod specification.
        most: Largest number of pods.
        does_work: Ray schedules work there.
    """

    where: str
    spec: dict[str, Any]
    most: int
    does_work: bool = True

    @property
    def container(self) -> dict[str, Any]:
        """The Ray container, which KubeRay takes to be the first."""
        container: dict[str, Any] = self.spec["containers"][0]
        return container

    def limit(self, resource: str) -> float:
        """Limit of the Ray container, e.g. of ``cpu``, which may be in thousandths (``500m``)."""
        given = str(self.container.get("resources", {}).get("limits", {}).get(resource, 0))
        return float(given.removesuffix("m")) / (1000 if given.endswith("m") else 1)


def check_kubernetes_files(project: Project, crds: Path | None = None) -> Iterator[Finding]:
    """Check every file of `kubectl apply`.

    Args:
        project: The files.
        crds: Folder of KubeRay's CRDs; without it our own list of fields decides.
    """
    documents: list[tuple[str, dict[str, Any]]] = []
    for path in project.kubernetes_files():
        name = project.name(path)
        try:
            found = read_documents(path)
        except yaml.YAMLError as error:
            yield Finding(name, "", f"is no YAML: {str(error).splitlines()[0]}")
            continue
        for document in found:
            problems = list(field_problems(document, crds))
            yield from (Finding(name, place, problem) for place, problem in problems)
            if not problems:  # the other checks would stumble over the same
                documents.append((name, document))
    clusters = {
        document["metadata"].get("name"): document["spec"]
        for _, document in documents
        if document["kind"] == "RayCluster"
    }
    for name, document in documents:
        yield from _check_document(project, name, document, clusters)
    yield from _check_references(documents)


def _check_document(
    project: Project, name: str, document: dict[str, Any], clusters: dict[str, Any]
) -> Iterator[Finding]:
    kind, spec = document["kind"], document.get("spec", {})
    if spec.get("ttlSecondsAfterFinished") and not spec.get("shutdownAfterJobFinishes"):
        # KubeRay refuses such a job after it was created (ValidateRayJobSpec).
        problem = "needs shutdownAfterJobFinishes: true; leave it out beside a clusterSelector"
        yield Finding(name, "spec.ttlSecondsAfterFinished", problem)
    if kind == "ConfigMap":
        yield from check_environment(name, "data", document["data"], cluster_environment())
    if kind not in _CLUSTER_KEYS:
        return
    key = _CLUSTER_KEYS[kind]
    place = f"spec.{key}" if key else "spec"
    cluster = document["spec"].get(key) if key else document["spec"]
    if cluster is None:
        selected = document["spec"].get("clusterSelector", {}).get("ray.io/cluster")
        cluster = clusters.get(selected)
        if cluster is None:
            yield Finding(name, "spec.clusterSelector", f"no RayCluster is named {selected!r}")
            return
    else:
        yield from _check_cluster(project, name, place, cluster)
    pods = list(_pods(place, cluster))
    if kind == "RayService":
        config = yaml.safe_load(document["spec"]["serveConfigV2"])
        yield from check_serve_config(name, "spec.serveConfigV2", config)
        yield from _check_service_fits(name, config, pods)
    if kind == "RayJob":
        yield from _check_job_fits(name, document["spec"]["entrypoint"], pods)


def _pods(place: str, cluster: dict[str, Any]) -> Iterator[Pods]:
    head = cluster["headGroupSpec"]
    works = head.get("rayStartParams", {}).get("num-cpus") != "0"
    yield Pods(f"{place}.headGroupSpec", head["template"]["spec"], 1, works)
    for i, group in enumerate(cluster.get("workerGroupSpecs", [])):
        where = f"{place}.workerGroupSpecs.{i}"
        yield Pods(where, group["template"]["spec"], group["maxReplicas"])


def _check_cluster(
    project: Project, name: str, place: str, cluster: dict[str, Any]
) -> Iterator[Finding]:
    if cluster.get("rayVersion") != project.ray_version():
        problem = f"is {cluster.get('rayVersion')}, pyproject.toml pins {project.ray_version()}"
        yield Finding(name, f"{place}.rayVersion", problem)
    mode = cluster.get("authOptions", {}).get("mode", "disabled")
    if mode != cluster_environment()["RAY_AUTH_MODE"]:
        problem = f"is {mode}, the environment says {cluster_environment()['RAY_AUTH_MODE']}"
        yield Finding(name, f"{place}.authOptions.mode", problem)
    head, *workers = _pods(place, cluster)
    if head.does_work:
        yield Finding(name, f"{head.where}.rayStartParams", 'lacks num-cpus: "0": work on the head')
    for pods in (head, *workers):
        yield from _check_pods(project, name, pods)
        for key in ("envFrom", "env"):
            if pods.container.get(key) != head.container.get(key):
                yield Finding(name, f"{pods.where}.{key}", "differs from that of the head")
    for i, group in enumerate(cluster.get("workerGroupSpecs", [])):
        low, high = group.get("minReplicas", 0), group["maxReplicas"]
        if not low <= group.get("replicas", low) <= high:
            problem = f"not minReplicas {low} <= replicas {group['replicas']} <= maxReplicas {high}"
            yield Finding(name, f"{place}.workerGroupSpecs.{i}", problem)


def _check_pods(project: Project, name: str, pods: Pods) -> Iterator[Finding]:
    container = pods.container
    image = container.get("image", "")
    yield from project.check_image(name, f"{pods.where}.image", image)
    sources = [one.get("configMapRef", {}).get("name") for one in container.get("envFrom", [])]
    if CONFIG_MAP not in sources:
        yield Finding(name, f"{pods.where}.envFrom", f"lacks the ConfigMap {CONFIG_MAP}")
    variables = {one["name"]: one.get("value", "") for one in container.get("env", [])}
    for twice in sorted(variables.keys() & cluster_environment().keys()):
        yield Finding(name, f"{pods.where}.env", f"{twice} belongs in the ConfigMap only")
    mounts = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
    storage = variables.get(STORAGE, "")
    if not storage:
        yield Finding(name, f"{pods.where}.env", f"lacks {STORAGE}")
    elif "://" not in storage and not any(Path(storage).is_relative_to(m) for m in mounts):
        yield Finding(name, f"{pods.where}.volumeMounts", f"none holds {storage} of {STORAGE}")
    for probe in ("readinessProbe", "livenessProbe"):
        if probe not in container:
            yield Finding(name, f"{pods.where}.{probe}", "missing: KubeRay's own calls wget")
    yield from _check_resources(name, pods)


def _check_resources(name: str, pods: Pods) -> Iterator[Finding]:
    resources = pods.container.get("resources", {})
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    where = f"{pods.where}.resources"
    for one in ("cpu", "memory"):
        # Ray counts a pod's limits; with less than that granted it would promise too much.
        if one not in limits or requests.get(one) != limits[one]:
            yield Finding(name, where, f"{one}: request and limit must be given and equal")
    image = str(pods.container.get("image", ""))
    if (pods.limit(_GPU) > 0) != image.endswith(GPU_IMAGE):
        yield Finding(name, where, f"limit of {_GPU} does not fit the image {image!r}")


def _check_service_fits(name: str, config: dict[str, Any], pods: list[Pods]) -> Iterator[Finding]:
    for one in replicas(config):
        wanted = JobNeeds(one.during_update, one.num_cpus, one.num_gpus)
        what = f"{one.during_update} replicas of {one.deployment} (updates included)"
        yield from _check_fits(name, "spec.serveConfigV2", what, wanted, pods)


def _check_job_fits(name: str, entrypoint: str, pods: list[Pods]) -> Iterator[Finding]:
    try:
        needs = entrypoint_needs(entrypoint)
    except ValueError as error:
        yield Finding(name, "spec.entrypoint", str(error))
        return
    if needs is not None:
        yield from _check_fits(name, "spec.entrypoint", f"{needs.count} workers", needs, pods)


def _check_fits(
    name: str, where: str, what: str, needs: JobNeeds, pods: list[Pods]
) -> Iterator[Finding]:
    room = 0
    for group in (one for one in pods if one.does_work):
        shares = [group.limit("cpu") // needs.num_cpus] if needs.num_cpus else []
        shares += [group.limit(_GPU) // needs.num_gpus] if needs.num_gpus else []
        room += int(min(shares, default=needs.count)) * group.most
    if room < needs.count:
        asked = f"{needs.num_cpus:g} CPUs and {needs.num_gpus:g} GPUs each"
        yield Finding(name, where, f"{what} with {asked}; the pods have room for {room}")


def _check_references(documents: list[tuple[str, dict[str, Any]]]) -> Iterator[Finding]:
    claims = {d["metadata"]["name"] for _, d in documents if d["kind"] == "PersistentVolumeClaim"}
    for name, document in documents:
        key = _CLUSTER_KEYS.get(document["kind"])
        cluster = document["spec"].get(key) if key else document.get("spec")
        if key is None or cluster is None:
            continue
        for pods in _pods("spec", cluster):
            for volume in pods.spec.get("volumes", []):
                claim = volume.get("persistentVolumeClaim", {}).get("claimName")
                if claim is not None and claim not in claims:
                    yield Finding(name, f"{pods.where}.volumes", f"no claim is named {claim!r}")
