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

_NUM_ABREAST = 16
"""Rows whose maxima are taken side by side."""

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
        states = [embedding_VE.take(ids, axis=0) for ids in texts]
        # A product with ones: BLAS adds rows up three times as fast as a reduction does.
        sums = [np.ones((1, len(state_TE)), np.float32) @ state_TE for state_TE in states]
        total_NE = sums[0] if len(sums) == 1 else np.concatenate(sums)
        if pooling == "sum":
            return total_NE
        lengths = np.array([[len(ids)] for ids in texts], dtype=np.float32)
        scaled: Array = np.divide(total_NE, lengths if pooling == "mean" else np.sqrt(lengths))
        if pooling != "sqrt_max":
            return scaled
        return np.concatenate([scaled, [_largest(state_TE) for state_TE in states]], axis=1)

    return read


def _largest(states_TE: Array) -> Array:
    """The largest number of each column.

    numpy goes row by row, and for 32 numbers a row that is mostly its own doing: rows side by side
    take half of the time for 381 of them, and a third for 765.
    """
    num_blocks = len(states_TE) // _NUM_ABREAST
    if num_blocks < _NUM_ABREAST:
        return np.maximum.reduce(states_TE, axis=0)
    end = num_blocks * _NUM_ABREAST
    abreast = np.maximum.reduce(states_TE[:end].reshape(num_blocks, -1), axis=0)
    rest = [abreast.reshape(_NUM_ABREAST, -1), states_TE[end:]]
    return np.maximum.reduce(np.concatenate(rest), axis=0)


def _cnn(config: CnnConfig, weights: Weights) -> Reader:
    # Wider windows reach at least as far, so that sorted by width those that reach a token stand
    # together, at the end.
    order = np.argsort(config.widths, kind="stable")
    products = _cnn_products(config, weights, order)
    activate = _ACTIVATIONS[config.activation]
    pooling = config.pooling
    as_configured = np.argsort(order)

    def read_one(ids: NDArray[np.int64]) -> Array:
        num_tokens = len(ids)
        (_, _, look_up), *others = products
        values_TF = look_up(ids)
        for shift, first, look_up in others:
            if 0 < shift < num_tokens:
                values_TF[:-shift, first:] += look_up(ids[shift:])
            elif 0 < -shift < num_tokens:
                values_TF[-shift:, first:] += look_up(ids[:shift])
        if pooling == "max":
            # Both activations grow with their argument, so the maximum may come first.
            features_F = activate(np.maximum.reduce(values_TF, axis=0))
        else:
            features_F = np.add.reduce(activate(values_TF), axis=0)
            if pooling != "sum":
                features_F /= np.float32(num_tokens)
        return features_F.reshape(len(order), -1)[as_configured].ravel()

    return lambda texts: np.stack([read_one(ids) for ids in texts])


_Product = tuple[int, int, Callable[[NDArray[np.int64]], Array]]


def _cnn_products(config: CnnConfig, weights: Weights, order: NDArray[np.int64]) -> list[_Product]:
    """What a token gives to the windows around it, by its distance from their middle, in tokens.

    Returns:
        Distance; first column of the windows that reach so far; a look-up of [T, columns from
        there]. Distance 0 comes first: there all windows are, and their biases.
    """
    embedding_VE = weights["embedding.weight"]
    widths = [config.widths[i] for i in order]
    blocks = [np.split(weights[f"reader.filters.{i}.weight"], config.widths[i]) for i in order]
    bias_F = np.concatenate([weights[f"reader.filters.{i}.bias"] for i in order])
    num_columns = sum(widths) * config.num_filters
    has_tables = len(embedding_VE) * num_columns * 4 <= _TABLE_LIMIT_BYTES
    before, after = (widths[-1] - 1) // 2, widths[-1] // 2
    products = []
    for shift in (0, *range(-before, 0), *range(1, after + 1)):
        places = [
            block[shift + (width - 1) // 2]
            for block, width in zip(blocks, widths, strict=True)
            if -((width - 1) // 2) <= shift <= width // 2
        ]
        matrix_EF = np.ascontiguousarray(np.concatenate(places, axis=1))
        first = (len(widths) - len(places)) * config.num_filters
        bias = bias_F if shift == 0 else None
        products.append((shift, first, _looked_up(embedding_VE, matrix_EF, bias, has_tables)))
    return products


def _looked_up(
    embedding_VE: Array, matrix_EF: Array, bias_F: Array | None, has_table: bool
) -> Callable[[NDArray[np.int64]], Array]:
    bias = np.float32(0) if bias_F is None else bias_F
    if not has_table:
        return lambda ids: embedding_VE.take(ids, axis=0) @ matrix_EF + bias
    table_VF = embedding_VE @ matrix_EF + bias
    return lambda ids: table_VF.take(ids, axis=0)


def _lstm(config: LstmConfig, weights: Weights) -> Reader:
    suffixes = ("", "_reverse") if config.is_bidirectional else ("",)
    inputs = [_lstm_inputs(weights, suffix) for suffix in suffixes]
    # Both directions step together: half as many calls, which is what one text costs.
    recurrent_DUG = np.stack(
        [_halved_gates(weights[f"reader.weight_hh_l0{suffix}"].T) for suffix in suffixes]
    )
    pooling = config.pooling

    def read(texts: list[NDArray[np.int64]]) -> Array:
        lengths = np.array([len(ids) for ids in texts])
        order = np.argsort(-lengths, kind="stable")
        gates = [
            np.stack(
                [look_up(texts[i][::step]) for look_up, step in zip(inputs, (1, -1), strict=False)]
            )
            for i in order
        ]
        features_DNU = _recur(gates, lengths[order], recurrent_DUG, pooling)
        result = np.empty((len(texts), config.features_per_text), np.float32)
        result[order] = np.concatenate(list(features_DNU), axis=1)
        return result

    return read


def _lstm_inputs(weights: Weights, suffix: str) -> Callable[[NDArray[np.int64]], Array]:
    """Give a token's part of the gates [T, 4 U], halved as ``_halved_gates`` does."""
    bias = weights[f"reader.bias_ih_l0{suffix}"] + weights[f"reader.bias_hh_l0{suffix}"]
    input_EG = _halved_gates(weights[f"reader.weight_ih_l0{suffix}"].T)
    embedding_VE = weights["embedding.weight"]
    has_table = len(embedding_VE) * input_EG.shape[1] * 4 <= _TABLE_LIMIT_BYTES
    return _looked_up(embedding_VE, input_EG, _halved_gates(bias), has_table)


def _halved_gates(columns: Array) -> Array:
    """Halve the input, forget and output gates, the candidate left as it is.

    sigmoid(x) = (1 + tanh(x / 2)) / 2, so that one tanh then serves all four; Paddle's order is
    input, forget, candidate, output.
    """
    scale = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), columns.shape[-1] // 4)
    return np.ascontiguousarray(columns * scale)


def _recur(
    gates: list[Array], lengths: NDArray[np.int64], recurrent_DUG: Array, pooling: str
) -> Array:
    """Step through texts sorted from the longest, so that those still read stand first.

    Args:
        gates: The tokens' part of the gates of each text, [D directions, T, 4 U].
        lengths: Tokens of each text.
        recurrent_DUG: The state's part.
        pooling: ``last``, ``max`` or ``mean``.

    Returns:
        Features [D, N, U].
    """
    num_units = recurrent_DUG.shape[1]
    hidden_DNU = np.zeros((len(recurrent_DUG), len(gates), num_units), np.float32)
    cell_DNU = np.zeros_like(hidden_DNU)
    pooled_DNU: Array = np.full_like(hidden_DNU, -np.inf if pooling == "max" else 0)
    forget, candidate, output = num_units, 2 * num_units, 3 * num_units
    for t in range(int(lengths[0])):
        n = int((lengths > t).sum()) if len(gates) > 1 else 1
        step = np.matmul(hidden_DNU[:, :n], recurrent_DUG)
        step += gates[0][:, t : t + 1] if n == 1 else np.stack([g[:, t] for g in gates[:n]], axis=1)
        np.tanh(step, out=step)
        is_open = step * np.float32(0.5) + np.float32(0.5)
        cell = cell_DNU[:, :n]
        cell *= is_open[..., forget:candidate]
        cell += is_open[..., :forget] * step[..., candidate:output]
        np.multiply(is_open[..., output:], np.tanh(cell), out=hidden_DNU[:, :n])
        if pooling == "max":
            np.maximum(pooled_DNU[:, :n], hidden_DNU[:, :n], out=pooled_DNU[:, :n])
        elif pooling == "mean":
            pooled_DNU[:, :n] += hidden_DNU[:, :n]
    if pooling == "last":
        return hidden_DNU
    if pooling == "mean":
        pooled_DNU /= lengths[:, None].astype(np.float32)
    return pooled_DNU


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
