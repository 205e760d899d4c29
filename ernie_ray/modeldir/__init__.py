"""The exported model directory: the contract between training and serving.

Knows file names, the manifest and digests. Knows nothing of Paddle, engines or Ray; every file in a
model directory can be read without Python.
"""

from ernie_ray.modeldir.folder import ModelDir, open_model_dir, seal_model_dir
from ernie_ray.modeldir.manifest import (
    GoldenText,
    InputSpec,
    Lineage,
    Manifest,
    ParityBound,
    VectorSpec,
)
from ernie_ray.modeldir.network import EncoderConfig, Pooling
from ernie_ray.modeldir.task import (
    ClassificationSpec,
    EmbeddingSpec,
    PairSpec,
    ReadingSpec,
    TaskSpec,
    TokenLabelsSpec,
)

__all__ = [
    "ClassificationSpec",
    "EmbeddingSpec",
    "EncoderConfig",
    "GoldenText",
    "InputSpec",
    "Lineage",
    "Manifest",
    "ModelDir",
    "PairSpec",
    "ParityBound",
    "Pooling",
    "ReadingSpec",
    "TaskSpec",
    "TokenLabelsSpec",
    "VectorSpec",
    "open_model_dir",
    "seal_model_dir",
]
