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
from ernie_ray.modeldir.network import (
    BowConfig,
    CnnConfig,
    EncoderConfig,
    LstmConfig,
    NetworkConfig,
    Pooling,
    StudentConfig,
)
from ernie_ray.modeldir.task import (
    ClassificationSpec,
    EmbeddingSpec,
    PairSpec,
    ReadingSpec,
    TaskSpec,
    TokenLabelsSpec,
)
from ernie_ray.modeldir.vocabulary import VocabularySpec

__all__ = [
    "BowConfig",
    "ClassificationSpec",
    "CnnConfig",
    "EmbeddingSpec",
    "EncoderConfig",
    "GoldenText",
    "InputSpec",
    "Lineage",
    "LstmConfig",
    "Manifest",
    "ModelDir",
    "NetworkConfig",
    "PairSpec",
    "ParityBound",
    "Pooling",
    "ReadingSpec",
    "StudentConfig",
    "TaskSpec",
    "TokenLabelsSpec",
    "VectorSpec",
    "VocabularySpec",
    "open_model_dir",
    "seal_model_dir",
]
