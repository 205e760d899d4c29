"""Student networks in numpy: a bag of words, CNN or LSTM for one text in microseconds.

The same arithmetic as ``ernie_ray.models.students``, without padding and without Paddle. What does
not depend on the text is done once at loading: a CNN's filters and an LSTM's input matrix are
applied to every embedding, so that a text only looks sums up.

Dimension key: N texts, T tokens, E embedding, F features per text, H vector, U LSTM units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import ModelDirError
from ernie_ray.modeldir import BowConfig, CnnConfig, LstmConfig, StudentConfig
from ernie_ray.text.features import TokenIds

Array = NDArray[np.float32]
Weights = Mapping[str, Array]
Reader = Callable[[list[NDArray[np.int64]]], Array]
"""Ids of N texts, each at least one long -> features [N, F]."""

_TABLE_LIMIT_BYTES = 512 << 20
"""Largest table of products; a larger vocabulary multiplies for each text instead."""


class NumpyStudent:
    """A student ready to run. Thread-safe: nothing is written after loading."""

    def __init__(self, config: StudentConfig, weights: Weights) -> None:
        """Prepare the tables.

        Args:
            config: Sizes and choices.
            weights: Parameters by the names of ``ernie_ray.models.students``.

        Raises:
            ModelDirError: A parameter is missing.
        """
        self._config = config
        try:
            self._read = _reader(config, weights)
            num_dense = len(config.hidden_sizes)
            self._dense = [
                (weights[f"dense.{i}.weight"], weights[f"dense.{i}.bias"]) for i in range(num_dense)
            ]
            self._head = weights["head.weight"], weights["head.bias"]
        except KeyError as error:
            raise ModelDirError(f"the student's weights lack {error}; export it again") from error
        self._squash = _ACTIVATIONS[config.squash]
        self._activate = _ACTIVATIONS[config.dense_activation]

    def run(self, rows: Sequence[TokenIds]) -> tuple[Array, Array]:
        """Run rows of any lengths.

        Returns:
            Vectors [N, H] and logits [N, C].
        """
        if self._config.is_pair:
            vectors = self._pairs(rows)
        else:
            vectors = self._features([np.asarray(row.input_ids, np.int64) for row in rows])
        for weight, bias in self._dense:
            vectors = self._activate(vectors @ weight + bias)
        weight, bias = self._head
        return vectors, vectors @ weight + bias

    def _features(self, texts: list[NDArray[np.int64]]) -> Array:
        return self._squash(self._read(texts))

    def _pairs(self, rows: Sequence[TokenIds]) -> Array:
        texts = []
        for row in rows:
            ids, types = np.asarray(row.input_ids, np.int64), np.asarray(row.token_type_ids)
            texts += [ids[types == 0], ids[types == 1]]
        is_there = np.array([len(text) > 0 for text in texts])
        features = np.zeros((len(texts), self._config.features_per_text), np.float32)
        if is_there.any():
            features[is_there] = self._read([text for text in texts if len(text)])
        features = self._squash(features)
        first, second = features[0::2], features[1::2]
        return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)


def _reader(config: StudentConfig, weights: Weights) -> Reader:
    if isinstance(config, BowConfig):
        return _bow(config, weights)
    if isinstance(config, CnnConfig):
        return _cnn(config, weights)
    return _lstm(config, weights)


def _bow(config: BowConfig, weights: Weights) -> Reader:
    embedding_VE = weights["embedding.weight"]
    pooling = config.pooling

    def read(texts: list[NDArray[np.int64]]) -> Array:
        # A product with ones: BLAS adds rows up three times as fast as a reduction does.
        sums = [
            np.ones((1, len(ids)), np.float32) @ embedding_VE.take(ids, axis=0) for ids in texts
        ]
        total_NE = sums[0] if len(sums) == 1 else np.concatenate(sums)
        if pooling == "sum":
            return total_NE
        lengths = np.array([[len(ids)] for ids in texts], dtype=np.float32)
        scaled: Array = np.divide(total_NE, lengths if pooling == "mean" else np.sqrt(lengths))
        return scaled

    return read


def _cnn(config: CnnConfig, weights: Weights) -> Reader:
    biases = [weights[f"reader.filters.{i}.bias"] for i in range(len(config.widths))]
    products = _cnn_products(config, weights)
    activate = _ACTIVATIONS[config.activation]
    size, pooling = config.num_filters, config.pooling

    def read_one(ids: NDArray[np.int64]) -> list[Array]:
        looked_up_TK = products(ids)
        num_tokens = len(ids)
        features = []
        column = 0
        for width, bias in zip(config.widths, biases, strict=True):
            num_before = (width - 1) // 2
            values_TF = looked_up_TK[
                :, column + num_before * size : column + (num_before + 1) * size
            ]
            values_TF = values_TF + bias
            for k in range(width):
                part = looked_up_TK[:, column + k * size : column + (k + 1) * size]
                shift = k - num_before
                if 0 < shift < num_tokens:
                    values_TF[:-shift] += part[shift:]
                elif 0 < -shift < num_tokens:
                    values_TF[-shift:] += part[:shift]
            column += width * size
            if pooling == "max":
                # Both activations grow with their argument, so the maximum may come first.
                features.append(activate(np.maximum.reduce(values_TF, axis=0)))
                continue
            total_F = np.add.reduce(activate(values_TF), axis=0)
            features.append(total_F if pooling == "sum" else total_F / np.float32(num_tokens))
        return features

    def read(texts: list[NDArray[np.int64]]) -> Array:
        return np.stack([np.concatenate(read_one(ids)) for ids in texts])

    return read


def _cnn_products(config: CnnConfig, weights: Weights) -> Callable[[NDArray[np.int64]], Array]:
    """Give a token's product with each place of each window: [T, sum of widths x filters]."""
    embedding_VE = weights["embedding.weight"]
    blocks = []
    for i, width in enumerate(config.widths):
        matrix = weights[f"reader.filters.{i}.weight"]
        blocks += np.split(matrix, width, axis=0)
    places_EK = np.ascontiguousarray(np.concatenate(blocks, axis=1))
    if len(embedding_VE) * places_EK.shape[1] * 4 > _TABLE_LIMIT_BYTES:
        return lambda ids: embedding_VE.take(ids, axis=0) @ places_EK
    table_VK = embedding_VE @ places_EK
    return lambda ids: table_VK.take(ids, axis=0)


def _lstm(config: LstmConfig, weights: Weights) -> Reader:
    directions = ("", "_reverse") if config.is_bidirectional else ("",)
    cells = [_LstmCell(weights, suffix) for suffix in directions]
    pooling = config.pooling

    def read(texts: list[NDArray[np.int64]]) -> Array:
        parts = []
        for cell, is_reverse in zip(cells, (False, True), strict=False):
            read_ids = [ids[::-1] for ids in texts] if is_reverse else texts
            parts.append(cell.run(read_ids, pooling))
        return np.concatenate(parts, axis=1)

    return read


class _LstmCell:
    """One direction, with Paddle's parameters: gates in the order input, forget, cell, output."""

    def __init__(self, weights: Weights, suffix: str) -> None:
        name = f"reader.{{}}_l0{suffix}".format
        bias = weights[name("bias_ih")] + weights[name("bias_hh")]
        input_EG = weights[name("weight_ih")].T
        embedding_VE = weights["embedding.weight"]
        self._recurrent_UG = np.ascontiguousarray(weights[name("weight_hh")].T)
        self._num_units = len(self._recurrent_UG)
        if embedding_VE.shape[0] * input_EG.shape[1] * 4 > _TABLE_LIMIT_BYTES:
            self._inputs: Callable[[NDArray[np.int64]], Array] = lambda ids: (
                embedding_VE.take(ids, axis=0) @ input_EG + bias
            )
        else:
            table_VG = embedding_VE @ input_EG + bias
            self._inputs = lambda ids: table_VG.take(ids, axis=0)

    def run(self, texts: list[NDArray[np.int64]], pooling: str) -> Array:
        """Read texts, the longest first, so that those still being read stand at the top."""
        lengths = np.array([len(ids) for ids in texts])
        order = np.argsort(-lengths, kind="stable")
        inputs_NTG = [self._inputs(texts[i]) for i in order]
        # How many texts have a token at each position.
        num_active = [int((lengths > t).sum()) for t in range(int(lengths.max()))]
        hidden = np.zeros((len(texts), self._num_units), np.float32)
        cell = np.zeros_like(hidden)
        start = np.float32(-np.inf) if pooling == "max" else np.float32(0)
        pooled = np.full_like(hidden, start)
        for t, n in enumerate(num_active):
            gates_nG = hidden[:n] @ self._recurrent_UG
            gates_nG += np.stack([inputs[t] for inputs in inputs_NTG[:n]])
            hidden[:n], cell[:n] = self._step(gates_nG, cell[:n])
            if pooling == "max":
                np.maximum(pooled[:n], hidden[:n], out=pooled[:n])
            elif pooling == "mean":
                pooled[:n] += hidden[:n]
        if pooling == "mean":
            pooled /= lengths[order][:, None].astype(np.float32)
        result = np.empty_like(hidden)
        result[order] = hidden if pooling == "last" else pooled
        return result

    def _step(self, gates_nG: Array, cell_nU: Array) -> tuple[Array, Array]:
        n = self._num_units
        candidate = np.tanh(gates_nG[:, 2 * n : 3 * n])
        # sigmoid(x) = (1 + tanh(x / 2)) / 2 cannot overflow; one call serves three gates.
        open_nG = 0.5 * np.tanh(0.5 * gates_nG) + 0.5
        cell_nU = open_nG[:, n : 2 * n] * cell_nU + open_nG[:, :n] * candidate
        return open_nG[:, 3 * n :] * np.tanh(cell_nU), cell_nU


def _relu(values: Array) -> Array:
    return np.maximum(values, np.float32(0))


def _softsign(values: Array) -> Array:
    squashed: Array = np.divide(values, np.abs(values) + np.float32(1))
    return squashed


def _unchanged(values: Array) -> Array:
    return values


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "none": _unchanged,
    "tanh": np.tanh,
    "relu": _relu,
    "softsign": _softsign,
}
