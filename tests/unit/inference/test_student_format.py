"""docs/student-format.md, read by a program that has nothing of ours and no numpy."""

import json
import math
import struct

import pytest

from tests.tiny_models import export_tiny_student

ACTIVATIONS = {
    "none": lambda x: x,
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
    "softsign": lambda x: x / (1 + abs(x)),
}


def read_weights(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    arrays = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            start, end = (8 + size + place for place in entry["data_offsets"])
            numbers = struct.unpack(f"<{(end - start) // 4}f", data[start:end])
            width = entry["shape"][-1]
            rows = [numbers[i : i + width] for i in range(0, len(numbers), width)]
            arrays[name] = rows if len(entry["shape"]) == 2 else numbers
    return arrays


def ids_of(text, vocabulary, limit):
    text = " ".join((text.lower() if vocabulary["lowercase"] else text).split())
    if vocabulary["kind"] == "characters":
        numbers = {piece: i + 2 for i, piece in enumerate(vocabulary["pieces"])}
        return [numbers.get(character, 1) for character in text][:limit] or [1]
    if vocabulary["kind"] == "subwords":
        return unigram(text[: 16 * limit], vocabulary)[:limit] or [1]
    orders, bits, found = vocabulary["orders"], vocabulary["bucket_bits"], []
    text = text[: max((limit + sum(n - 1 for n in orders)) // len(orders), 1)]
    for n in sorted(orders):
        for start in range(len(text) - n + 1):
            h = 0
            for character in text[start : start + n]:
                h = (h + ord(character)) * 0x85EBCA6B % 2**32
                h ^= h >> 15
            found.append(2 + (h * 0x85EBCA6B % 2**32 >> 32 - bits))
    return found[:limit] or [1]


def unigram(text, vocabulary):
    known = {
        piece: (score, i + 2)
        for i, (piece, score) in enumerate(
            zip(vocabulary["pieces"], vocabulary["scores"], strict=True)
        )
    }
    cost = min(vocabulary["scores"]) - 10
    best = [(0.0, [])]
    for end in range(1, len(text) + 1):
        total, ids = best[end - 1]
        ways = [(total + cost, ids if ids[-1:] == [1] else [*ids, 1])]
        for start in range(end):
            if found := known.get(text[start:end]):
                ways.append((best[start][0] + found[0], [*best[start][1], found[1]]))
        best.append(max(ways, key=lambda way: way[0]))
    return best[-1][1]


def product(x, matrix):
    return [
        sum(a * row[j] for a, row in zip(x, matrix, strict=True)) for j in range(len(matrix[0]))
    ]


def added(x, y):
    return [a + b for a, b in zip(x, y, strict=True)]


def pooled(rows, pooling):
    columns = list(zip(*rows, strict=True))
    if pooling == "max":
        return [max(column) for column in columns]
    if pooling == "last":
        return list(rows[-1])
    if pooling == "sqrt_max":
        return pooled(rows, "sqrt") + pooled(rows, "max")
    scale = {"sum": 1, "mean": len(rows), "sqrt": math.sqrt(len(rows))}[pooling]
    return [sum(column) / scale for column in columns]


def cnn_features(e, network, weights):
    features, activate = [], ACTIVATIONS[network["activation"]]
    for i, width in enumerate(network["widths"]):
        matrix, bias = (weights[f"reader.filters.{i}.{name}"] for name in ("weight", "bias"))
        values = []
        for t in range(len(e)):
            places = range(t - (width - 1) // 2, t + width // 2 + 1)
            zeros = [0.0] * len(e[0])
            window = [a for p in places for a in (e[p] if 0 <= p < len(e) else zeros)]
            values.append([activate(a) for a in added(product(window, matrix), bias)])
        features += pooled(values, network["pooling"])
    return features


def lstm_features(e, network, weights):
    features, units = [], network["num_units"]
    for suffix in ("", "_reverse") if network["is_bidirectional"] else ("",):
        w_in, w_state, b_in, b_state = (
            weights[f"reader.{name}_l0{suffix}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        hidden, cell, states = [0.0] * units, [0.0] * units, []
        for x in reversed(e) if suffix else e:
            gates = [
                sum(a * b for a, b in zip((*x, *hidden, 1, 1), (*row_x, *row_h, p, q), strict=True))
                for row_x, row_h, p, q in zip(w_in, w_state, b_in, b_state, strict=True)
            ]
            opened = [1 / (1 + math.exp(-gate)) for gate in gates]
            cell = [
                opened[units + j] * cell[j] + opened[j] * math.tanh(gates[2 * units + j])
                for j in range(units)
            ]
            hidden = [opened[3 * units + j] * math.tanh(cell[j]) for j in range(units)]
            states.append(hidden)
        features += pooled(states, network["pooling"])
    return features


def logits_of(texts, network, weights):
    parts = []
    for ids in texts:
        e = [weights["embedding.weight"][i] for i in ids]
        if network["kind"] == "bow":
            features = pooled(e, network["pooling"])
        else:
            read = cnn_features if network["kind"] == "cnn" else lstm_features
            features = read(e, network, weights)
        parts.append([ACTIVATIONS[network["squash"]](a) for a in features])
    x = parts[0]
    if network["is_pair"]:
        a, b = parts
        apart = [abs(p - q) for p, q in zip(a, b, strict=True)]
        x = [*a, *b, *apart, *(p * q for p, q in zip(a, b, strict=True))]
    for i in range(len(network["hidden_sizes"])):
        x = added(product(x, weights[f"dense.{i}.weight"]), weights[f"dense.{i}.bias"])
        x = [ACTIVATIONS[network["dense_activation"]](a) for a in x]
    return added(product(x, weights["head.weight"]), weights["head.bias"])


@pytest.mark.parametrize("is_pair", [False, True])
@pytest.mark.parametrize(
    ("kind", "vocabulary"),
    [("bow", "characters"), ("bow", "ngrams"), ("cnn", "subwords"), ("lstm", "characters")],
)
def test_the_documented_format_is_all_that_a_reader_needs(kind, vocabulary, is_pair, tmp_path):
    folder = export_tiny_student(tmp_path / "s", kind, vocabulary=vocabulary, is_pair=is_pair)
    manifest, known, golden = (
        json.loads((folder / f"{name}.json").read_text("utf-8"))
        for name in ("manifest", "vocabulary", "golden")
    )
    weights = read_weights(folder / "weights.safetensors")
    limit = manifest["input"]["max_tokens"] // (2 if is_pair else 1)
    assert len(golden) > 5
    assert vocabulary == "ngrams" or any(1 in row["input_ids"] for row in golden)
    for row in golden:
        texts = [row["text"], row["text_pair"]] if is_pair else [row["text"]]
        ids = [ids_of(text, known, limit) for text in texts]
        assert [i for one in ids for i in one] == row["input_ids"]
        logits = logits_of(ids, manifest["network"], weights)
        assert logits == pytest.approx(row["logits"], abs=1e-5)
