"""Every check of this package, in one list."""

from __future__ import annotations

from pathlib import Path

from cluster.image_check import check_image_files
from cluster.kubernetes_check import check_kubernetes_files
from cluster.launcher_check import check_launcher_files
from cluster.project import Finding, Project
from cluster.serve_check import check_serve_files


def findings(project: Project, crds: Path | None = None) -> list[Finding]:
    """Check all files of a working tree.

    Args:
        project: The files.
        crds: Folder of KubeRay's CRDs; None: our own list of fields decides.

    Returns:
        What is wrong; empty if nothing is.
    """
    return [
        *check_launcher_files(project),
        *check_image_files(project),
        *check_serve_files(project),
        *check_kubernetes_files(project, crds),
    ]
