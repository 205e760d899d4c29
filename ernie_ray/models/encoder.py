"""The ERNIE / BERT encoder in Paddle: token ids to token states.

One class covers ERNIE 1.0, 2.0, 3.0, Tiny and BERT; the differences (activation, LayerNorm epsilon,
task-type embedding, sizes) are data in ``EncoderConfig``. Knows nothing of pooling, heads or files.

Dimension key: B batch, T tokens, Q tokens that ask, H hidden size, N heads, D head size.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn
from paddle.distributed.fleet.utils import recompute
from paddle.nn import functional

from ernie_ray.errors import CheckpointError
from ernie_ray.modeldir import EncoderConfig
from ernie_ray.models.layers import Dropout, LayerNorm, Linear

# Added to the scores of padding; large enough that exp() gives exactly 0 in fp32 and bf16.
_MASKED_SCORE = -1e4


class Embeddings(nn.Layer):
    """Sum of word, position, token-type and (ERNIE 2.0, 3.0) task-type embeddings, normalised."""

    def __init__(self, config: EncoderConfig, dropout: float) -> None:
        super().__init__()
        width = config.hidden_size
        self.word = nn.Embedding(config.vocab_size, width)
        self.position = nn.Embedding(config.max_positions, width)
        self.token_type = nn.Embedding(config.num_token_types, width)
        if config.num_task_types:
            self.task_type = nn.Embedding(config.num_task_types, width)
        self.layer_norm = LayerNorm(width, epsilon=config.layer_norm_eps)
        self.dropout = Dropout(dropout)
        self._uses_task_type = config.num_task_types > 0

    def forward(self, input_ids: paddle.Tensor, token_type_ids: paddle.Tensor) -> paddle.Tensor:
        """Embed ids [B, T] to states [B, T, H]."""
        ones = paddle.ones_like(input_ids)
        position_ids = paddle.cumsum(ones, axis=1) - ones
        states_BTH = (
            self.word(input_ids) + self.position(position_ids) + self.token_type(token_type_ids)
        )
        if self._uses_task_type:
            # Task id 0 is what every released checkpoint is used with.
            states_BTH = states_BTH + self.task_type(paddle.zeros_like(input_ids))
        return self.dropout(self.layer_norm(states_BTH))


class SelfAttention(nn.Layer):
    """Multi-head attention of a text over itself."""

    def __init__(self, config: EncoderConfig, dropout: float) -> None:
        super().__init__()
        width = config.hidden_size
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.output = Linear(width, width)
        self.dropout = Dropout(dropout)
        self._num_heads = config.num_heads
        self._head_size = width // config.num_heads

    def forward(
        self, asking_BQH: paddle.Tensor, states_BTH: paddle.Tensor, mask_score: paddle.Tensor
    ) -> paddle.Tensor:
        """Attend: states [B, Q, H] to states [B, T, H] with mask scores [B, 1, 1, T]."""
        query_BNQD = self._split_heads(self.query(asking_BQH)) * self._head_size**-0.5
        key_BNTD = self._split_heads(self.key(states_BTH))
        value_BNTD = self._split_heads(self.value(states_BTH))
        scores_BNQT = paddle.matmul(query_BNQD, key_BNTD, transpose_y=True) + mask_score
        weights_BNQT = self.dropout(functional.softmax(scores_BNQT))
        context_BQND = paddle.transpose(paddle.matmul(weights_BNQT, value_BNTD), [0, 2, 1, 3])
        return self.output(paddle.reshape(context_BQND, [0, 0, self._num_heads * self._head_size]))

    def _split_heads(self, states_BTH: paddle.Tensor) -> paddle.Tensor:
        # 0 copies a dimension, which keeps the exported graph free of fixed shapes.
        states_BTND = paddle.reshape(states_BTH, [0, 0, self._num_heads, self._head_size])
        return paddle.transpose(states_BTND, [0, 2, 1, 3])


class FeedForward(nn.Layer):
    """Widen, activate, narrow."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.up = Linear(config.hidden_size, config.ffn_size)
        self.down = Linear(config.ffn_size, config.hidden_size)
        self._activation = config.activation

    def forward(self, states_BTH: paddle.Tensor) -> paddle.Tensor:
        """Map states [B, T, H] to states [B, T, H]."""
        inner = self.up(states_BTH)
        if self._activation == "relu":
            return self.down(functional.relu(inner))
        return self.down(functional.gelu(inner, approximate=self._activation == "gelu_tanh"))


class Block(nn.Layer):
    """One Transformer layer, normalised after each sum (post-LN) as BERT and ERNIE are."""

    def __init__(self, config: EncoderConfig, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(config, dropout)
        self.attention_norm = LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.ffn = FeedForward(config)
        self.ffn_norm = LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        states_BTH: paddle.Tensor,
        mask_score: paddle.Tensor,
        asking_BQH: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """Map states [B, T, H] to states [B, T, H], or some of them [B, Q, H] to theirs."""
        asking_BQH = states_BTH if asking_BQH is None else asking_BQH
        attended = self.dropout(self.attention(asking_BQH, states_BTH, mask_score))
        states_BQH = self.attention_norm(asking_BQH + attended)
        return self.ffn_norm(states_BQH + self.dropout(self.ffn(states_BQH)))


class Encoder(nn.Layer):
    """Token ids to the token states of every layer.

    Attributes:
        config: Sizes and choices.
        recomputes: While training, keep no activations inside of layers but compute them again in
            the backward pass, with the same dropout.
    """

    def __init__(self, config: EncoderConfig, *, dropout: float = 0.0) -> None:
        """Build with random weights.

        Args:
            config: Sizes and choices.
            dropout: Probability for hidden states and attention weights while training.
        """
        super().__init__()
        self.config = config
        self.recomputes = False
        self.embeddings = Embeddings(config, dropout)
        self.layers = nn.LayerList([Block(config, dropout) for _ in range(config.num_layers)])
        if config.has_pooler:
            self.pooler = Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        input_ids: paddle.Tensor,
        token_type_ids: paddle.Tensor,
        attention_mask: paddle.Tensor,
    ) -> tuple[paddle.Tensor, ...]:
        """Encode a padded batch.

        Args:
            input_ids: Vocabulary ids, int64 [B, T].
            token_type_ids: 0 or 1, int64 [B, T].
            attention_mask: 1 for tokens and 0 for padding, int64 [B, T].

        Returns:
            States [B, T, H] of the embedding and then of every layer: ``num_layers + 1`` tensors.
        """
        states_BTH = self.embeddings(input_ids, token_type_ids)
        mask_score = _mask_score(attention_mask, states_BTH)
        if self.training:
            # Paddle's CPU kernel adds equal shapes 10x faster than it broadcasts: expand once here
            # instead of broadcasting in every layer. Exported graphs keep the small mask.
            num_tokens = input_ids.shape[1]
            mask_score = paddle.expand(
                mask_score, [-1, self.config.num_heads, num_tokens, num_tokens]
            ).contiguous()
        all_states = [states_BTH]
        for layer in self.layers:
            # Under frozen layers nothing is kept anyway.
            if self.training and self.recomputes and not states_BTH.stop_gradient:
                states_BTH = recompute(layer, states_BTH, mask_score, use_reentrant=False)
            else:
                states_BTH = layer(states_BTH, mask_score)
            all_states.append(states_BTH)
        return tuple(all_states)

    def first_of_last_layer(
        self, states_BTH: paddle.Tensor, attention_mask: paddle.Tensor
    ) -> paddle.Tensor:
        """Compute the last layer's state of each first token alone.

        It is a sixth of the layer's products: keys and values of all tokens, the rest of one.

        Args:
            states_BTH: States below the last layer, [B, T, H].
            attention_mask: 1 for tokens and 0 for padding, int64 [B, T].

        Returns:
            States [B, 1, H].
        """
        mask_score = _mask_score(attention_mask, states_BTH)
        first_B1H: paddle.Tensor = self.layers[-1](states_BTH, mask_score, states_BTH[:, :1])
        return first_B1H


def _mask_score(attention_mask: paddle.Tensor, states: paddle.Tensor) -> paddle.Tensor:
    """What is added to attention scores, [B, 1, 1, T]."""
    is_padding = 1.0 - attention_mask.astype(states.dtype)
    return paddle.unsqueeze(is_padding, [1, 2]) * _MASKED_SCORE


def load_weights(layer: nn.Layer, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy arrays into a layer's parameters; both must have the same names and shapes.

    Raises:
        CheckpointError: Names or shapes differ; the message lists all of them.
    """
    parameters = layer.state_dict()
    problems = [f"missing {name}" for name in parameters.keys() - weights.keys()]
    problems += [f"unexpected {name}" for name in weights.keys() - parameters.keys()]
    for name in parameters.keys() & weights.keys():
        wanted, found = list(parameters[name].shape), list(weights[name].shape)
        if wanted != found:
            problems.append(f"{name} has shape {found}, {wanted} needed")
    if problems:
        raise CheckpointError("weights do not fit the network: " + "; ".join(sorted(problems)))
    for name, parameter in parameters.items():
        parameter.set_value(weights[name])


def read_weights(layer: nn.Layer) -> dict[str, NDArray[np.float32]]:
    """Copy a layer's parameters out, by name."""
    return {name: parameter.numpy() for name, parameter in layer.state_dict().items()}
