"""Rename weights of any layout to ours; whatever does not fit is listed in one error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import SourceError
from ernie_ray.modeldir import EncoderConfig
from ernie_ray.models.pretrained.layouts import HUGGING_FACE, Layout, weight_shapes
from ernie_ray.models.pretrained.pretrained_encoder import Weights

Arrays = Mapping[str, NDArray[Any]]

# BERT's first PyTorch conversions call the LayerNorm parameters as TensorFlow does.
_OLD_NORM_NAMES = {"gamma": "weight", "beta": "bias"}
_NOT_A_MATRIX = re.compile(r"^embeddings\.")


def without_prefix(arrays: Arrays, layout: Layout, prefix: str) -> dict[str, NDArray[Any]]:
    """Drop the prefix and the heads: what remains should be the encoder."""
    bare = {_modern_name(name.removeprefix(prefix)): array for name, array in arrays.items()}
    return {name: array for name, array in bare.items() if not layout.ignored.fullmatch(name)}


def to_our_names(bare: Arrays, layout: Layout, config: EncoderConfig) -> Weights:
    """Rename, transpose and convert to float32.

    Args:
        bare: Arrays under the layout's names without prefix and heads.
        layout: Their layout.
        config: What they must fit.

    Raises:
        SourceError: Lists every missing, unexpected and mis-shaped weight.
    """
    weights: Weights = {}
    problems = []
    used = set()
    for name, shape in weight_shapes(config).items():
        theirs = layout.theirs(name)
        used.add(theirs)
        if theirs not in bare:
            problems.append(f"missing {theirs}")
            continue
        array = bare[theirs]
        if layout.is_transposed and array.ndim == 2 and not _NOT_A_MATRIX.match(name):
            array = array.T
        if array.shape != shape:
            problems.append(f"{theirs} has shape {array.shape}, {shape} needed as [in, out]")
        weights[name] = np.ascontiguousarray(array, dtype=np.float32)
    if layout is HUGGING_FACE and not config.num_task_types:
        # Its ErnieModel leaves the table out, whatever the file holds, unless use_task_id is set.
        used.add(layout.theirs("embeddings.task_type.weight"))
    problems += [f"unexpected {name}" for name in bare if name not in used]
    if problems:
        raise SourceError(
            f"the weights ({layout.title} layout) do not fit their configuration: "
            + "; ".join(sorted(problems))
        )
    return weights


def from_our_names(weights: Weights, layout: Layout) -> dict[str, NDArray[np.float32]]:
    """Give weights the names and shapes of a layout: the reverse of ``to_our_names``."""
    renamed = {}
    for name, array in weights.items():
        is_matrix = array.ndim == 2 and not _NOT_A_MATRIX.match(name)
        turned = array.T if layout.is_transposed and is_matrix else array
        renamed[layout.theirs(name)] = np.ascontiguousarray(turned, dtype=np.float32)
    return renamed


def _modern_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem.endswith("LayerNorm") and kind in _OLD_NORM_NAMES:
        return f"{stem}.{_OLD_NORM_NAMES[kind]}"
    return name
