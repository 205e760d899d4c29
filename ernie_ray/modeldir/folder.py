"""Seal a finished folder with its manifest, and open one only if every byte still fits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ernie_ray.errors import ModelDirError
from ernie_ray.modeldir.manifest import FORMAT_VERSION, FileEntry, GoldenText, Manifest

MANIFEST = "manifest.json"
MODEL_IN_RUN = "model"  # where a run folder has its model directory
TOKENIZER = "tokenizer.json"
VOCABULARY = "vocabulary.json"
WEIGHTS = "weights.safetensors"
PADDLE_GRAPH = "graph.json"
PADDLE_WEIGHTS = "graph.pdiparams"
ONNX_GRAPH = "graph.onnx"
GOLDEN = "golden.json"

_GOLDEN_TEXTS = TypeAdapter(tuple[GoldenText, ...])


@dataclass(frozen=True)
class ModelDir:
    """An opened model directory whose files were found to be whole."""

    path: Path
    manifest: Manifest

    def file(self, name: str) -> Path:
        """Path of one of its files, e.g. ``ONNX_GRAPH``."""
        if name not in self.manifest.files:
            raise ModelDirError(f"{self.path}: has no {name}; export the model again")
        return self.path / name

    def golden_texts(self) -> tuple[GoldenText, ...]:
        """Texts with the outputs that every engine must reproduce."""
        return _GOLDEN_TEXTS.validate_json(self.file(GOLDEN).read_bytes())


def write_golden_texts(folder: Path, golden: Iterable[GoldenText]) -> None:
    """Write the golden texts of a folder that is about to be sealed."""
    (folder / GOLDEN).write_bytes(_GOLDEN_TEXTS.dump_json(tuple(golden), indent=1))


def seal_model_dir(folder: Path, manifest: Manifest) -> ModelDir:
    """Write the manifest over all files that ``folder`` holds now.

    Args:
        folder: Holds every file of the model directory but the manifest.
        manifest: Complete but for ``files`` and ``section_digests``, which are filled in here.

    Returns:
        The sealed directory.
    """
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name != MANIFEST)
    files = dict(zip(names, _entries([folder / name for name in names]), strict=True))
    complete = manifest.model_copy(update={"files": files, "section_digests": {}})
    sealed = complete.model_copy(update={"section_digests": complete.digests_of_sections()})
    text = json.dumps(sealed.model_dump(mode="json"), ensure_ascii=False, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return ModelDir(folder, sealed)


def open_model_dir(path: str | Path) -> ModelDir:
    """Read a model directory's manifest and check every file against it.

    Raises:
        ModelDirError: The folder, its manifest or a file is missing, or was changed since export;
            the message names the file or the manifest's section.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    _refuse_edited_sections(folder, manifest)
    missing = [name for name in manifest.files if not (folder / name).is_file()]
    if missing:
        raise ModelDirError(f"{folder}: missing {', '.join(missing)}; export the model again")
    entries = _entries([folder / name for name in manifest.files])
    for (name, expected), found in zip(manifest.files.items(), entries, strict=True):
        if found != expected:
            raise ModelDirError(
                f"{folder}: {name} was changed since export (SHA-256 {found.sha256[:12]}..., "
                f"{expected.sha256[:12]}... expected); export or copy the model again"
            )
    return ModelDir(folder, manifest)


def read_manifest(folder: Path) -> Manifest:
    """Parse ``manifest.json`` without checking any digest.

    Raises:
        ModelDirError: There is none, or it is not a manifest that this version reads.
    """
    path = folder / MANIFEST
    if not path.is_file():
        is_run = (folder / MODEL_IN_RUN / MANIFEST).is_file()
        hint = f"; a run folder: its folder {MODEL_IN_RUN} is one" if is_run else ""
        raise ModelDirError(f"{folder}: not a model directory (no {MANIFEST}){hint}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if version != FORMAT_VERSION:
            raise ModelDirError(
                f"{path}: format_version {version} cannot be read (this version reads "
                f"{FORMAT_VERSION}); export the model with the installed ernie-ray"
            )
        return Manifest.model_validate(raw)
    except (UnicodeDecodeError, json.JSONDecodeError, ValidationError) as error:
        raise ModelDirError(f"{path}: not a manifest: {error}") from error


def _refuse_edited_sections(folder: Path, manifest: Manifest) -> None:
    found = manifest.digests_of_sections()
    edited = [key for key, digest in found.items() if manifest.section_digests.get(key) != digest]
    if edited:
        raise ModelDirError(
            f"{folder / MANIFEST}: {', '.join(edited)} edited after export; "
            "a model directory is immutable, export again instead"
        )


def _entries(paths: list[Path]) -> list[FileEntry]:
    # hashlib releases the interpreter lock, so threads hash in parallel.
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(_entry, paths))


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileEntry(num_bytes=path.stat().st_size, sha256=digest)
