"""A network small enough to train and export in a second, with a real tokenizer."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from ernie_ray.jobs.export import ExportLabel, export_checkpoint, export_pretrained
from ernie_ray.jobs.storage import Storage
from ernie_ray.modeldir import (
    BowConfig,
    ClassificationSpec,
    CnnConfig,
    EncoderConfig,
    Lineage,
    LstmConfig,
    Pooling,
    StudentConfig,
    TaskSpec,
)
from ernie_ray.models.pretrained import PretrainedEncoder
from ernie_ray.models.start import StartSpec, write_start, write_student_start
from ernie_ray.tasks import family_of
from ernie_ray.text.cache import FeatureCache
from ernie_ray.text.cache_writer import CacheWriter
from ernie_ray.text.student_vocabulary import VocabularyKind, VocabularySettings, build_vocabulary
from ernie_ray.text.tokenizer import TextTokenizer
from ernie_ray.text.tokenizer_build import WordCut, wordpiece_tokenizer
from ernie_ray.training.checkpoint import Checkpoint, Position, write_checkpoint

CHARACTERS = (
    "的一是不了好坏很书店房间服务差干净喜欢讨厌推荐再来送货快慢这那本家，。！？abcdefghij0123456789"
)
SPEC = ClassificationSpec(labels=("negative", "positive"))
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHARACTERS, "good", "bad", "##s"]


def tiny_encoder(*, num_layers: int = 2, hidden_size: int = 32, seed: int = 0) -> PretrainedEncoder:
    """Random weights: hidden 32, 4 heads, a vocabulary of single characters."""
    config = EncoderConfig(
        vocab_size=len(VOCAB),
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=max(4, hidden_size // 64),
        ffn_size=2 * hidden_size,
        activation="gelu",
        layer_norm_eps=1e-12,
        max_positions=64,
        num_token_types=2,
        has_pooler=True,
    )
    from ernie_ray.models.encoder import Encoder

    rng = np.random.default_rng(seed)
    shapes = {name: tuple(p.shape) for name, p in Encoder(config).state_dict().items()}
    weights = {
        name: np.ones(shape, np.float32)
        if "norm.weight" in name
        else rng.normal(0, 0.2, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    return PretrainedEncoder(
        config=config,
        weights=weights,
        tokenizer=wordpiece_tokenizer(VOCAB, WordCut.BERT),
        pooling=Pooling.MEAN,
        normalize=True,
        text_prefix="",
        source=f"tiny-{seed}",
    )


GOOD, BAD = "好喜欢推荐干净快", "差坏讨厌慢"


def tiny_rows(num_rows: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of random characters with the label that their one telling character gives."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(num_rows):
        label = "positive" if rng.random() < 0.5 else "negative"
        telling = rng.choice(list(GOOD if label == "positive" else BAD))
        noise = rng.choice(list(CHARACTERS[:10]), size=rng.integers(1, 12)).tolist()
        noise.insert(int(rng.integers(0, len(noise) + 1)), str(telling))
        rows.append(("".join(noise), label))
    return rows


def word_texts(num_texts: int = 200) -> list[str]:
    """Texts made of a few words, from which sub-words can be trained."""
    rng = np.random.default_rng(5)
    words = [
        "房间",
        "服务",
        "书店",
        "很好",
        "干净",
        "推荐",
        "次",
        "快",
        "，",
        "。",
        " good ",
        " bad ",
    ]
    return ["".join(rng.choice(words, size=rng.integers(2, 9))).strip() for _ in range(num_texts)]


def tiny_cache(path: Path, rows: list[tuple[str, str]]) -> FeatureCache:
    """A feature cache of rows, made without Ray."""
    tokenizer = TextTokenizer(tiny_encoder().tokenizer, max_tokens=32)
    tokens = tokenizer.encode([text for text, _ in rows])
    family = family_of(SPEC)
    labels = np.concatenate([family.label_of(label) for _, label in rows])
    table = pa.table(
        {
            "file": np.zeros(len(rows), np.int32),
            "row": np.arange(len(rows)),
            "input_ids": [row.input_ids for row in tokens],
            "token_type_ids": [row.token_type_ids for row in tokens],
            "is_truncated": [row.is_truncated for row in tokens],
            "label": pa.FixedSizeListArray.from_arrays(pa.array(labels), 1),
        }
    )
    writer = CacheWriter(
        path, digest="tiny", file_names=["tiny"], labels=SPEC.labels, label_width=1
    )
    with writer:
        writer.write(table)
        return writer.finish()


def export_tiny_classifier(
    target: Path, *, name: str = "tiny", task: TaskSpec = SPEC, pooling: Pooling = Pooling.MEAN
) -> Path:
    """Export a classifier (or another task) with random weights, as a run does."""
    import paddle

    from ernie_ray.models.encoder import load_weights, read_weights
    from ernie_ray.models.text_network import TextNetwork

    pretrained = tiny_encoder()
    paddle.seed(3)
    network = TextNetwork(pretrained.config, pooling=pooling, task=task)
    load_weights(network.encoder, pretrained.weights)
    with TemporaryDirectory() as folder:
        start, checkpoint = Path(folder) / "start", Path(folder) / "checkpoint"
        start.mkdir()
        checkpoint.mkdir()
        spec = StartSpec(
            task=task,
            network=pretrained.config,
            pooling=pooling,
            normalize=True,
            text_prefix="",
            max_tokens=32,
            pretrained=pretrained.source,
        )
        write_start(start, spec, pretrained)
        state = Checkpoint(
            position=Position(epoch=1, step=5),
            weights=read_weights(network),
            optimizer={},
            metrics={"accuracy": 0.5},
        )
        write_checkpoint(checkpoint, state)
        label = ExportLabel(name, Lineage(run="tiny-run"))
        export_checkpoint(checkpoint, start, target, label, storage=Storage())
    return target


def export_tiny_embedding(target: Path) -> Path:
    """Export the pretrained encoder as it is."""
    export_pretrained(tiny_encoder(), target, "tiny-vectors", max_tokens=32, storage=Storage())
    return target


def export_tiny_student(
    target: Path,
    kind: str = "bow",
    *,
    vocabulary: VocabularyKind = "characters",
    is_pair: bool = False,
) -> Path:
    """Export a student with random weights, as a run does."""
    import paddle

    from ernie_ray.models.build import build_network
    from ernie_ray.models.encoder import read_weights

    pieces = build_vocabulary(
        VocabularySettings(vocabulary, bucket_bits=8), [text for text, _ in tiny_rows(30, 4)]
    )
    sizes: Any = {"vocab_size": pieces.size, "embedding_size": 8, "is_pair": is_pair}
    networks: dict[str, StudentConfig] = {
        "bow": BowConfig(**sizes, hidden_sizes=(6,), pooling="sqrt_max", squash="softsign"),
        "cnn": CnnConfig(**sizes, num_filters=4, widths=(2, 3)),
        "lstm": LstmConfig(**sizes, num_units=4, pooling="max"),
    }
    network = networks[kind]
    spec = StartSpec(
        task=SPEC, network=network, pooling=None, normalize=False, text_prefix="", max_tokens=24,
        pretrained="", embedding_std=0.5,
    )  # fmt: skip
    paddle.seed(1)
    with TemporaryDirectory() as folder:
        start, checkpoint = Path(folder) / "start", Path(folder) / "checkpoint"
        start.mkdir()
        checkpoint.mkdir()
        write_student_start(start, spec, pieces)
        weights = read_weights(build_network(spec))
        write_checkpoint(checkpoint, Checkpoint(Position(), weights, {}, {}))
        label = ExportLabel("student", Lineage(run="test"))
        export_checkpoint(checkpoint, start, target, label, storage=Storage())
    return target
