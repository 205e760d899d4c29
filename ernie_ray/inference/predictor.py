"""Texts to vectors and scores: a model directory with an engine behind one small interface.

Everything that runs a trained model (service, labelling, evaluation, prediction) uses this class.
Knows nothing of queues or requests.

Dimension key: N texts, H numbers per vector, C task outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from ernie_ray.errors import InferenceError
from ernie_ray.inference.engines import Engine, EngineOptions, RowEngine, load_engine
from ernie_ray.inference.grouping import BatchLimits, batches_by_length
from ernie_ray.inference.layer_pooling import POOLER, Pooler
from ernie_ray.inference.parity import check_parity
from ernie_ray.inference.text_model import Outputs
from ernie_ray.modeldir import EncoderConfig, Manifest, ModelDir, open_model_dir
from ernie_ray.modeldir.folder import WEIGHTS
from ernie_ray.tasks import family_of, reads_pairs, refuse_other_form
from ernie_ray.text.cutter import cutter_file, read_cutter
from ernie_ray.text.features import TokenIds, pad_batch, rows_of_texts
from ernie_ray.text.tokenizer import Text

_BATCH_TOKENS = 4096
_BULK_PADDING_SHARE = 0.03
"""Less than where texts wait for each other: with all of them there, batches stay large anyway."""


@dataclass(frozen=True)
class Prediction:
    """What a model gives for one text.

    Attributes:
        vector: float32 [H], scaled to length 1 if the manifest says so.
        result: Task result (label, score, ...); empty for a model without a head.
        is_truncated: True if the text was cut to the model's limit.
    """

    vector: NDArray[np.float32]
    result: dict[str, Any]
    is_truncated: bool


class Predictor:
    """A loaded model directory. Thread-safe."""

    def __init__(
        self, model_dir: ModelDir, engine: Engine | RowEngine, pooler: Pooler | None = None
    ) -> None:
        """Join an opened directory and a loaded engine; see ``from_dir``.

        Args:
            model_dir: Verified.
            engine: Runs its graph.
            pooler: Reads a layer that the engine exposes; its vectors join the exposed states.
        """
        self.manifest: Manifest = model_dir.manifest
        self.fingerprint: str = model_dir.manifest.fingerprint
        self.engine = engine.name
        self.precision = engine.precision
        # Looked up once: for a student that answers in microseconds each step here counts.
        self._run_engine = (
            engine.run_rows if isinstance(engine, RowEngine) else partial(self._run_padded, engine)
        )
        self._pooler = pooler
        self._family = family_of(self.manifest.task)
        self._reads_pairs = reads_pairs(self.manifest)
        self._normalizes = self.manifest.vector.normalize
        self._pad_token_id = self.manifest.input.pad_token_id
        self._tokenizer = read_cutter(
            model_dir.file(cutter_file(model_dir.path).name),
            max_tokens=self.manifest.input.max_tokens,
            text_prefix=self.manifest.input.text_prefix,
            per_token=self._family.is_per_token,
        )

    @classmethod
    def from_dir(
        cls,
        path: str | Path,
        *,
        engine: str = "auto",
        precision: str = "auto",
        num_threads: int | None = None,
        layers: Sequence[str] = (),
    ) -> Predictor:
        """Open a model directory, load its graph and prove that it gives the golden outputs.

        Args:
            path: A folder that ``ernie-ray export`` or ``finetune`` wrote.
            engine: ``openvino``, ``onnxruntime``, ``paddle``, ``numpy`` (students) or ``auto``.
            precision: ``fp32``, ``bf16``, ``fp16`` or ``auto``.
            num_threads: CPU threads of one forward pass; None: all that the process may use.
            layers: Names of layers (``manifest.layer_nodes``) whose token states to expose.

        Raises:
            ModelDirError: A file was changed, or the engine strays from the golden outputs.
            ConfigError: The engine or precision cannot be had here.
        """
        model_dir = open_model_dir(path)
        options = EngineOptions(precision, num_threads, tuple(layers))
        pooler = _read_pooler(model_dir, layers)
        predictor = cls(model_dir, load_engine(model_dir, engine, options), pooler)
        check_parity(predictor, model_dir)
        return predictor

    def tokenize(self, texts: Sequence[Text]) -> list[TokenIds]:
        """Cut texts into token ids, at most ``manifest.input.max_tokens`` each.

        Raises:
            MalformedRequestError: A model of pairs was given a single text, or one of single texts
                a pair; encoders of classes and vectors take both.
        """
        if self._reads_pairs is not None:
            refuse_other_form(texts, self.manifest.task, self._reads_pairs)
        return self._tokenizer.encode(texts)

    def forward(self, rows: Sequence[TokenIds]) -> Outputs:
        """Run the network over rows of any lengths, as one padded batch.

        Args:
            rows: At least one row.

        Returns:
            Vectors [N, H] as the network gives them, logits [N, C] with a head, and the token
            states of the exposed layers.
        """
        outputs = dict(self._run_engine(rows))
        if self._pooler is not None:
            outputs[POOLER] = self._pooler(outputs)
        return Outputs(outputs.pop("vector"), outputs.pop("logits", None), outputs)

    def _run_padded(
        self, engine: Engine, rows: Sequence[TokenIds]
    ) -> dict[str, NDArray[np.float32]]:
        return engine.run(pad_batch(rows, pad_token_id=self._pad_token_id))

    def decode(
        self, logits: NDArray[np.float32], rows: Sequence[TokenIds] = ()
    ) -> list[dict[str, Any]]:
        """Turn the logits of ``rows`` into one task result per text; see ``TextModel.decode``."""
        return self._family.decode(logits, rows)

    def run(self, texts: Sequence[Text], *, batch_tokens: int = _BATCH_TOKENS) -> Outputs:
        """Tokenize and run any number of texts, batched by length, in the order given.

        Args:
            texts: Single texts or pairs.
            batch_tokens: Largest padded size of a batch, in tokens.

        Returns:
            Vectors [N, H] and logits [N, C].

        Raises:
            InferenceError: An output is NaN or infinite; the message gives the text's index.
        """
        return self.run_rows(self.tokenize(texts), batch_tokens=batch_tokens)

    def run_rows(self, rows: Sequence[TokenIds], *, batch_tokens: int = _BATCH_TOKENS) -> Outputs:
        """Like ``run`` for rows that are tokenized already."""
        if len(rows) == 1:
            outputs = self.forward(rows)
            _refuse_infinite(outputs)
            return outputs
        vectors = np.empty((len(rows), self.manifest.vector.size), dtype=np.float32)
        logits = self._empty_logits(rows)
        limits = BatchLimits(max_batch_tokens=batch_tokens, max_padding_share=_BULK_PADDING_SHARE)
        for chosen in batches_by_length([len(row) for row in rows], limits):
            outputs = self.forward([rows[i] for i in chosen])
            vectors[chosen] = outputs.vectors
            if logits is not None and outputs.logits is not None:
                # Per token, a batch is as long as its longest row.
                logits[chosen, : outputs.logits.shape[1]] = outputs.logits
        whole = Outputs(vectors, logits)
        _refuse_infinite(whole)
        return whole

    def predict(
        self, texts: Sequence[Text], *, batch_tokens: int = _BATCH_TOKENS
    ) -> list[Prediction]:
        """Give each text its vector and task result, in order; see ``run``."""
        rows = self.tokenize(texts)
        outputs = self.run_rows(rows, batch_tokens=batch_tokens)
        vectors = outputs.vectors
        if self._normalizes:
            vectors = normalize(vectors)
        logits = outputs.logits
        results = [{} for _ in texts] if logits is None else self.decode(logits, rows)
        # A text cut into windows has the vector of its first one.
        return [
            Prediction(vectors[group[0]], result, any(rows[i].is_truncated for i in group))
            for result, group in zip(results, rows_of_texts(rows), strict=True)
        ]

    def _empty_logits(self, rows: Sequence[TokenIds]) -> NDArray[np.float32] | None:
        task = self.manifest.task
        if not task.num_outputs:
            return None
        longest = (max(map(len, rows), default=0),) if task.is_per_token else ()
        return np.zeros((len(rows), *longest, task.num_outputs), dtype=np.float32)


def _read_pooler(model_dir: ModelDir, layers: Sequence[str]) -> Pooler | None:
    """The encoder's pooler, if there is one and the layer that it reads is exposed."""
    manifest = model_dir.manifest
    network = manifest.network
    if not isinstance(network, EncoderConfig) or not network.has_pooler:
        return None
    last_layer = manifest.layer_nodes[-1]
    if last_layer not in layers:
        return None
    with safe_open(model_dir.file(WEIGHTS), framework="numpy") as weights:
        weight, bias = (
            weights.get_tensor(f"encoder.pooler.{name}").astype(np.float32, copy=False)
            for name in ("weight", "bias")
        )
    return Pooler(last_layer, weight, bias)


def normalize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale vectors [N, H] to length 1; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)


def _refuse_infinite(outputs: Outputs) -> None:
    # A sum of squares is finite only if all its terms are, and one call gives it; where large
    # values overflow, each number is looked at below.
    squares = float(np.vdot(outputs.vectors, outputs.vectors))
    if outputs.logits is not None:
        squares += float(np.vdot(outputs.logits, outputs.logits))
    if math.isfinite(squares):
        return
    bad = ~np.isfinite(outputs.vectors).all(axis=1)
    if outputs.logits is not None:
        bad |= ~np.isfinite(outputs.logits).all(axis=1)
    if bad.any():
        raise InferenceError(f"NaN or infinite output for text {int(np.argmax(bad))}")
