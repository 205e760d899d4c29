"""Write arrays and tokenizers so that a full disk is an `OSError`, as for every other file.

The libraries that own the two formats raise errors of their own, or a bare `Exception`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file


def write_arrays(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a ``.safetensors`` file.

    Args:
        path: Where to.
        arrays: By name; views are copied, since the format holds contiguous arrays alone.
        metadata: What the file says of itself besides.

    Raises:
        OSError: There is no room, or no such folder.
    """
    path.touch()
    mode = path.stat().st_mode
    # Not `ascontiguousarray`, which gives an array of no dimension one.
    whole = {name: np.asarray(values, order="C") for name, values in arrays.items()}
    try:
        save_file(whole, path, metadata=None if metadata is None else dict(metadata))
        path.chmod(mode)  # safetensors leaves a file that nobody else may read
    except SafetensorError as error:
        raise OSError(str(error)) from error


def write_tokenizer(path: Path, tokenizer: tokenizers.Tokenizer) -> None:
    """Write a ``tokenizer.json``.

    Raises:
        OSError: There is no room, or no such folder.
    """
    path.write_text(tokenizer.to_str(), encoding="utf-8")
