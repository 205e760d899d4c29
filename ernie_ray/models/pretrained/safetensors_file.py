"""Read safetensors files, whole or in shards; bfloat16 comes back as float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from ernie_ray.errors import SourceError
from ernie_ray.models.pretrained.pickled_arrays import from_bfloat16

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read one file.

    Raises:
        SourceError: The file is damaged or holds a type that no encoder has.
    """
    try:
        tensors = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except (OSError, safetensors.SafetensorError) as error:
        raise SourceError(f"{path}: not a safetensors file: {error}") from error
    arrays = {}
    for name, tensor in tensors:
        dtype = tensor["dtype"]
        if dtype not in _DTYPES:
            raise SourceError(f"{path}: {name} is of type {dtype}, which is not supported")
        array = np.frombuffer(tensor["data"], _DTYPES[dtype]).reshape(tensor["shape"])
        arrays[name] = from_bfloat16(array) if dtype == "BF16" else array
    return arrays


def read_sharded_safetensors(index: Path) -> dict[str, NDArray[Any]]:
    """Read all shards that a ``model.safetensors.index.json`` names.

    Raises:
        SourceError: The index or a shard is missing or damaged.
    """
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise SourceError(f"{index}: not an index of shards: {error}") from error
    arrays: dict[str, NDArray[Any]] = {}
    for shard in shards:
        if Path(shard).name != shard:
            raise SourceError(f"{index}: shard {shard} lies outside of the folder")
        arrays |= read_safetensors(index.parent / shard)
    return arrays
