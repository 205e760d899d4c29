"""Pretrained encoders in every layout that ERNIE and BERT are published in, as numpy arrays.

``from_pretrained`` finds the files (embedded package, local folder, hub cache), reads weights
without running anything in them, and renames them to the one set of names that
``ernie_ray.models.encoder`` has. Knows no Paddle.
"""

from ernie_ray.models.pretrained.hugging_face import write_hugging_face
from ernie_ray.models.pretrained.pretrained_encoder import PretrainedEncoder, keep_layers
from ernie_ray.models.pretrained.reading import from_pretrained
from ernie_ray.models.pretrained.sources import EMBEDDED
from ernie_ray.models.pretrained.trimming import trim_vocabulary

__all__ = [
    "EMBEDDED",
    "PretrainedEncoder",
    "from_pretrained",
    "keep_layers",
    "trim_vocabulary",
    "write_hugging_face",
]
