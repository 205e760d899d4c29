"""Student networks in Paddle: bag of words, CNN and LSTM, for single texts and pairs.

They take and give what ``TextNetwork`` does, so that the training loop knows no difference. The
same arithmetic in numpy stands in ``ernie_ray.inference.students``.

Dimension key: B batch, T tokens, E embedding, F features per text, H vector, C task outputs.
"""

from __future__ import annotations

from itertools import pairwise

import paddle
from paddle import nn
from paddle.nn import functional

from ernie_ray.modeldir import BowConfig, CnnConfig, LstmConfig, StudentConfig, TaskSpec
from ernie_ray.models.layers import Dropout, Linear
from ernie_ray.models.pooling import max_over_tokens
from ernie_ray.models.text_network import NetworkOutput

_MASKED = -1e4
_ACTIVATIONS = {
    "none": lambda x: x,
    "tanh": paddle.tanh,
    "relu": functional.relu,
    "softsign": functional.softsign,
}


class StudentNetwork(nn.Layer):
    """Embedding, a text encoder of one kind, dense layers and a linear head."""

    def __init__(
        self,
        config: StudentConfig,
        *,
        task: TaskSpec,
        dropout: float = 0.0,
        token_dropout: float = 0.0,
        embedding_std: float = 0.02,
    ) -> None:
        """Build with random weights.

        Args:
            config: Sizes and choices.
            task: Decides the head's width.
            dropout: Probability before the dense layers and the head, while training.
            token_dropout: Probability of each token to be left out, while training (word dropout:
                Iyyer et al. 2015, "Deep Unordered Composition"); the others weigh more.
            embedding_std: Spread of the first embeddings; the kit's is 0.02.
        """
        super().__init__()
        self.config = config
        self.task = task
        self.embedding = nn.Embedding(
            config.vocab_size,
            config.embedding_size,
            weight_attr=nn.initializer.TruncatedNormal(std=embedding_std),
        )
        if isinstance(config, CnnConfig):
            self.reader: nn.Layer = _Windows(config)
        elif isinstance(config, LstmConfig):
            self.reader = _Recurrence(config)
        else:
            self.reader = _Sum(config)
        sizes = (config.joined_size, *config.hidden_sizes)
        self.dense = nn.LayerList([Linear(a, b) for a, b in pairwise(sizes)])
        self.head = Linear(config.hidden_size, task.num_outputs)
        self.dropout = Dropout(dropout)
        self.token_dropout = Dropout(token_dropout)

    def forward(
        self,
        input_ids: paddle.Tensor,
        token_type_ids: paddle.Tensor,
        attention_mask: paddle.Tensor,
    ) -> NetworkOutput:
        """Run a padded batch of int64 [B, T] arrays; of pairs, token type 1 is the second text."""
        if self.config.is_pair:
            first = self._read(input_ids, attention_mask * (1 - token_type_ids))
            second = self._read(*_second_texts(input_ids, token_type_ids * attention_mask))
            joined = [first, second, paddle.abs(first - second), first * second]
            vector = paddle.concat(joined, axis=1)
        else:
            vector = self._read(input_ids, attention_mask)
        activate = _ACTIVATIONS[self.config.dense_activation]
        for layer in self.dense:
            vector = activate(layer(self.dropout(vector)))
        return NetworkOutput(vector, self.head(self.dropout(vector)), ())

    def embedding_parameters(self) -> list[paddle.Tensor]:
        """What ``freeze_embeddings`` keeps as it is."""
        return list(self.embedding.parameters())

    def _read(self, ids_BT: paddle.Tensor, mask_BT: paddle.Tensor) -> paddle.Tensor:
        mask_BT1 = paddle.unsqueeze(mask_BT, -1).astype("float32")
        weight_BT1 = self.token_dropout(mask_BT1)
        features_BF = self.reader(self.embedding(ids_BT), mask_BT1, weight_BT1)
        return _ACTIVATIONS[self.config.squash](features_BF)


class _Sum(nn.Layer):
    def __init__(self, config: BowConfig) -> None:
        super().__init__()
        self.config = config

    def forward(
        self, states_BTE: paddle.Tensor, mask_BT1: paddle.Tensor, weight_BT1: paddle.Tensor
    ) -> paddle.Tensor:
        # One product in the place of a masked copy of all states and its sum: half the time.
        total_BE = paddle.bmm(paddle.transpose(weight_BT1, [0, 2, 1]), states_BTE)[:, 0]
        if self.config.pooling != "sqrt_max":
            return _scaled(total_BE, mask_BT1, self.config.pooling)
        # Over the tokens that are not left out; the others' scale belongs to the sum alone.
        seen_BT1 = (weight_BT1 > 0).astype("float32")
        largest_BE = _pooled(states_BTE, seen_BT1, "max")
        return paddle.concat([_scaled(total_BE, mask_BT1, "sqrt"), largest_BE], axis=1)


class _Windows(nn.Layer):
    """Each window of tokens times one matrix per width; zeros stand outside of the text."""

    def __init__(self, config: CnnConfig) -> None:
        super().__init__()
        self.config = config
        self.filters = nn.LayerList(
            [Linear(w * config.embedding_size, config.num_filters) for w in config.widths]
        )

    def forward(
        self, states_BTE: paddle.Tensor, mask_BT1: paddle.Tensor, weight_BT1: paddle.Tensor
    ) -> paddle.Tensor:
        features = []
        states_BTE = states_BTE * weight_BT1
        for width, layer in zip(self.config.widths, self.filters, strict=True):
            values_BTF = _ACTIVATIONS[self.config.activation](layer(_windows(states_BTE, width)))
            features.append(_pooled(values_BTF, mask_BT1, self.config.pooling))
        return paddle.concat(features, axis=1)


class _Recurrence(nn.Layer):
    """One LSTM layer; its parameters are ours by name, since Paddle lists each twice."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        self.config = config
        direction = "bidirect" if config.is_bidirectional else "forward"
        lstm = nn.LSTM(config.embedding_size, config.num_units, direction=direction)
        for name, parameter in lstm.named_parameters():
            self.add_parameter(name, parameter)
        # Past Layer.__setattr__, which would register the parameters a second time.
        self.__dict__["_lstm"] = lstm

    def forward(
        self, states_BTE: paddle.Tensor, mask_BT1: paddle.Tensor, weight_BT1: paddle.Tensor
    ) -> paddle.Tensor:
        states_BTE = states_BTE * weight_BT1
        lengths_B1 = paddle.sum(mask_BT1, axis=1)
        # Of an empty text one padding token is read, and its features are zeroed below.
        lengths_B = paddle.clip(lengths_B1[:, 0], min=1.0).astype("int32")
        states_BTF, (last_DBH, _) = self._lstm(states_BTE, sequence_length=lengths_B)
        if self.config.pooling == "last":
            features_BF = paddle.concat(list(paddle.unbind(last_DBH, axis=0)), axis=1)
        else:
            features_BF = _pooled(states_BTF, mask_BT1, self.config.pooling)
        return features_BF * paddle.clip(lengths_B1, max=1.0)


def _windows(states_BTE: paddle.Tensor, width: int) -> paddle.Tensor:
    """For each position the states of ``width`` tokens around it, one after the other."""
    num_before = (width - 1) // 2
    num_tokens = states_BTE.shape[1]
    padded = functional.pad(
        states_BTE, [num_before, width - 1 - num_before], data_format="NLC", mode="constant"
    )
    return paddle.concat([padded[:, k : k + num_tokens] for k in range(width)], axis=-1)


def _pooled(values_BTF: paddle.Tensor, mask_BT1: paddle.Tensor, pooling: str) -> paddle.Tensor:
    """Pool over the tokens; an empty text gives zeros."""
    if pooling != "max":
        return _scaled(paddle.sum(values_BTF * mask_BT1, axis=1), mask_BT1, pooling)
    highest_BF = max_over_tokens(values_BTF + (1.0 - mask_BT1) * _MASKED)
    return highest_BF * paddle.clip(paddle.sum(mask_BT1, axis=1), max=1.0)


def _scaled(total_BF: paddle.Tensor, mask_BT1: paddle.Tensor, pooling: str) -> paddle.Tensor:
    if pooling == "sum":
        return total_BF
    length_B1 = paddle.clip(paddle.sum(mask_BT1, axis=1), min=1.0)
    return total_BF / (length_B1 if pooling == "mean" else paddle.sqrt(length_B1))


def _second_texts(
    ids_BT: paddle.Tensor, second_BT: paddle.Tensor
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Move each row's second text to its start; gives ids and mask."""
    num_tokens = ids_BT.shape[1]
    positions_1T = paddle.unsqueeze(paddle.arange(num_tokens), 0)
    start_B1 = paddle.argmax(second_BT, axis=1, keepdim=True)
    moved = paddle.clip(positions_1T + start_B1, max=num_tokens - 1)
    lengths_B1 = paddle.sum(second_BT, axis=1, keepdim=True)
    mask_BT = (positions_1T < lengths_B1).astype("int64")
    return paddle.take_along_axis(ids_BT, moved, axis=1), mask_BT
