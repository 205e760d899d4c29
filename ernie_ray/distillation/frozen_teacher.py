"""A teacher beside its student in a training worker: texts in, its answers and its inside out.

On CPUs an inference engine runs it, which takes a part of the time of Paddle's layers
(docs/decisions/0060-tiny-students.md). On a GPU its network does: its states stay on the device.

Dimension key: B rows, T tokens, W width, C task outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from numpy.typing import NDArray
from safetensors.numpy import load_file

from ernie_ray.config import Lesson
from ernie_ray.distillation.inside import RELATED, Inside
from ernie_ray.errors import ConfigError, InferenceError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.modeldir import EncoderConfig, ModelDir
from ernie_ray.modeldir.folder import TOKENIZER, WEIGHTS, open_model_dir
from ernie_ray.models.encoder import Embeddings, SelfAttention, load_weights
from ernie_ray.models.text_network import TextNetwork
from ernie_ray.text.features import TokenIds, pad_batch
from ernie_ray.text.spans import PlacingTokenizer, TokenPlaces
from ernie_ray.text.tokenizer import Text, load_tokenizer


@dataclass(frozen=True)
class Shown:
    """What a teacher shows of a batch of rows.

    Attributes:
        logits: Task outputs [B, C], on the host; without a head [B, 0].
        states: States [B, T, W] of the layers that the lesson names.
        related: Queries, keys and values [B, T, W] of the lesson's layer.
    """

    logits: NDArray[np.float32]
    states: Sequence[paddle.Tensor]
    related: Sequence[paddle.Tensor]


class FrozenTeacher:
    """A teacher that answers and is never trained.

    Attributes:
        width: Of its states.
    """

    def __init__(self, folder: Path, lesson: Lesson, *, num_threads: int | None = None) -> None:
        """Load a model directory.

        Args:
            folder: On this machine.
            lesson: Says which layers are imitated.
            num_threads: CPU threads of one forward pass; None: all that the process may use.

        Raises:
            ModelDirError: It is broken.
            ConfigError: It is no encoder, or the engine cannot be had.
        """
        model_dir = open_model_dir(folder)
        self.width = _config_of(model_dir).hidden_size
        if paddle.device.get_device() == "cpu":
            self._show = through_engine(model_dir, lesson, num_threads)
        else:
            self._show = through_network(model_dir, lesson)
        self._tokenizer = PlacingTokenizer(
            load_tokenizer(model_dir.file(TOKENIZER)),
            max_tokens=model_dir.manifest.input.max_tokens,
            text_prefix=model_dir.manifest.input.text_prefix,
        )

    def ask(self, texts: Sequence[Text]) -> tuple[Shown, list[TokenPlaces]]:
        """Run texts; gives what passes inside, and where the tokens stand.

        Raises:
            InferenceError: An answer is NaN or infinite, which a loss would take for none.
        """
        places = self._tokenizer.place(texts)
        rows = [TokenIds(row.input_ids, row.token_type_ids) for row in places]
        with paddle.no_grad():
            shown = self._show(rows)
        is_finite = np.isfinite(shown.logits).all(axis=1)
        if not is_finite.all():
            text = texts[int(np.argmin(is_finite))]
            raise InferenceError(f"the teacher's answer is NaN or infinite for {text!r:.80}")
        return shown, places


def through_network(model_dir: ModelDir, lesson: Lesson) -> Callable[[list[TokenIds]], Shown]:
    """Run the teacher as Paddle's layers, in fp32 on the device that trains."""
    config, pooling = _config_of(model_dir), model_dir.manifest.vector.pooling
    assert pooling is not None  # every encoder's manifest has one
    network = TextNetwork(config, pooling=pooling, task=model_dir.manifest.task)
    load_weights(network, load_file(model_dir.file(WEIGHTS)))
    network.eval()
    inside = Inside(network, lesson.teacher_layers, _related_layer(config, lesson))

    def show(rows: list[TokenIds]) -> Shown:
        batch = pad_batch(rows, pad_token_id=model_dir.manifest.input.pad_token_id)
        output = network(
            paddle.to_tensor(batch.input_ids),
            paddle.to_tensor(batch.token_type_ids),
            paddle.to_tensor(batch.attention_mask),
        )
        logits = None if output.logits is None else output.logits.astype("float32").numpy()
        return Shown(_logits_of(logits, len(rows)), inside.states, inside.related)

    return show


def through_engine(
    model_dir: ModelDir, lesson: Lesson, num_threads: int | None
) -> Callable[[list[TokenIds]], Shown]:
    """Run the teacher in an inference engine that exposes the layers.

    Queries, keys and values are no outputs of a graph: they are made of the states below.
    """
    config, states = _config_of(model_dir), lesson.states
    nodes = model_dir.manifest.layer_nodes
    layers = lesson.teacher_layers if states.hidden_weight else ()
    below = _related_layer(config, lesson) - 1
    relate = _relations_of(model_dir, below) if states.relation_weight else None
    wanted = {*layers, *((below,) if relate is not None and below else ())}
    predictor = Predictor.from_dir(
        model_dir.path,
        engine=lesson.engine,
        precision=lesson.precision,
        num_threads=num_threads,
        layers=[nodes[layer - 1] for layer in sorted(wanted)],
    )

    def show(rows: list[TokenIds]) -> Shown:
        outputs = predictor.forward(rows)
        found = {
            layer: paddle.to_tensor(outputs.states[nodes[layer - 1]]) for layer in sorted(wanted)
        }
        related = [] if relate is None else relate(rows, found.get(below))
        logits = _logits_of(outputs.logits, len(rows))
        return Shown(logits, [found[layer] for layer in layers], related)

    return show


def _relations_of(
    model_dir: ModelDir, below: int
) -> Callable[[list[TokenIds], paddle.Tensor | None], list[paddle.Tensor]]:
    """Make queries, keys and values [B, T, W] of the states [B, T, W] below their layer.

    Below the first layer there are none: they are made of the rows' ids.
    """
    config = _config_of(model_dir)
    weights = load_file(model_dir.file(WEIGHTS))
    attention = SelfAttention(config, dropout=0.0)
    load_weights(attention, _part(weights, f"encoder.layers.{below}.attention."))
    parts = [getattr(attention, name) for name in RELATED]
    embeddings = None
    if not below:
        embeddings = Embeddings(config, dropout=0.0)
        load_weights(embeddings, _part(weights, "encoder.embeddings."))

    def relate(rows: list[TokenIds], states: paddle.Tensor | None) -> list[paddle.Tensor]:
        if embeddings is not None:
            batch = pad_batch(rows, pad_token_id=model_dir.manifest.input.pad_token_id)
            ids = map(paddle.to_tensor, (batch.input_ids, batch.token_type_ids))
            states = embeddings(*ids)
        return [part(states) for part in parts]

    return relate


def _part(
    weights: Mapping[str, NDArray[np.float32]], prefix: str
) -> dict[str, NDArray[np.float32]]:
    return {
        name.removeprefix(prefix): values
        for name, values in weights.items()
        if name.startswith(prefix)
    }


def _related_layer(config: EncoderConfig, lesson: Lesson) -> int:
    return lesson.states.relation_layer or config.num_layers


def _config_of(model_dir: ModelDir) -> EncoderConfig:
    config = model_dir.manifest.network
    if not isinstance(config, EncoderConfig):
        raise ConfigError(f"{model_dir.path}: a {config.kind} has no layers to imitate")
    return config


def _logits_of(logits: NDArray[np.float32] | None, num_rows: int) -> NDArray[np.float32]:
    return np.empty((num_rows, 0), np.float32) if logits is None else logits
