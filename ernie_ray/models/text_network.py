"""Encoder, pooling and head in one network: what is trained, exported and served.

Knows nothing of losses, files or engines.

Dimension key: B batch, T tokens, H hidden size, C task outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import paddle
from paddle import nn

from ernie_ray.modeldir import EncoderConfig, Pooling, TaskSpec
from ernie_ray.models.encoder import Encoder
from ernie_ray.models.layers import Dropout, Linear
from ernie_ray.models.pooling import check_pooling, pool

_PADDING_LOGIT = 1e4

TRAINING_ONLY = "training_only"
"""Name of a sublayer that training may add for its own use; exports leave its weights out."""


@dataclass(frozen=True)
class NetworkOutput:
    """What one forward pass gives.

    Attributes:
        vector: One vector per text [B, H], not scaled.
        logits: Task outputs [B, C], or [B, T, C] for a task that answers per token; None without
            a head.
        layer_states: States [B, T, H] of every layer, the embedding left out.
    """

    vector: paddle.Tensor
    logits: paddle.Tensor | None
    layer_states: tuple[paddle.Tensor, ...]


class TextNetwork(nn.Layer):
    """A text encoder with its pooling and, unless the task is ``embedding``, a linear head."""

    def __init__(
        self,
        config: EncoderConfig,
        *,
        pooling: Pooling,
        task: TaskSpec,
        dropout: float = 0.0,
    ) -> None:
        """Build with random weights.

        Args:
            config: The encoder's sizes and choices.
            pooling: How token states become the vector.
            task: Decides the head's width; an ``EmbeddingSpec`` has no head.
            dropout: Probability in the encoder and before the head, while training.

        Raises:
            ConfigError: The encoder has no pooler but ``pooling`` asks for it.
        """
        check_pooling(config, pooling)
        super().__init__()
        self.encoder = Encoder(config, dropout=dropout)
        self.dropout = Dropout(dropout)
        if task.num_outputs:
            # Small and centred, as BERT initialises (0.02): the first steps keep the encoder whole.
            self.head = Linear(
                config.hidden_size,
                task.num_outputs,
                weight_attr=nn.initializer.TruncatedNormal(std=0.02),
            )
        self.pooling = pooling
        self.task = task

    def embedding_parameters(self) -> list[paddle.Tensor]:
        """What ``freeze_embeddings`` keeps as it is."""
        return list(self.encoder.embeddings.parameters())

    def forward(
        self,
        input_ids: paddle.Tensor,
        token_type_ids: paddle.Tensor,
        attention_mask: paddle.Tensor,
    ) -> NetworkOutput:
        """Run a padded batch of int64 [B, T] arrays through encoder, pooling and head."""
        _, *layer_states = self.encoder(input_ids, token_type_ids, attention_mask)
        vector, logits = self.results(layer_states[-1], attention_mask)
        return NetworkOutput(vector, logits, tuple(layer_states))

    def results(
        self, last_states: paddle.Tensor, attention_mask: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """Give vectors [B, H] and logits as ``NetworkOutput`` has them.

        Args:
            last_states: States [B, T, H] of the last layer, or [B, 1, H] if ``reads_first_token``.
            attention_mask: 1 for tokens and 0 for padding, int64 [B, T].
        """
        pooler = self.encoder.pooler if self.encoder.config.has_pooler else None
        vector = pool(last_states, attention_mask, self.pooling, pooler)
        states = last_states if self.task.is_per_token else vector
        logits = self.head(self.dropout(states)) if self.task.num_outputs else None
        if self.task.is_per_token:
            # So that padding never wins: neither in a softmax over tokens nor in a reader's search.
            is_padding_BT = 1.0 - attention_mask.astype(states.dtype)
            logits = logits - paddle.unsqueeze(is_padding_BT, axis=-1) * _PADDING_LOGIT
        return vector, logits

    @property
    def reads_first_token(self) -> bool:
        """Nothing but the last state of each first token is in the results."""
        return self.pooling.reads_first_token and not self.task.is_per_token
