"""Prove that a loaded engine gives what the trained network gave.

Knows the golden texts of a model directory and nothing of engines.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import ModelDirError
from ernie_ray.inference.text_model import Outputs
from ernie_ray.modeldir import GoldenText, ModelDir
from ernie_ray.text.features import TokenIds, flat_logits, is_first
from ernie_ray.text.tokenizer import Text


class _Checked(Protocol):
    precision: str
    engine: str

    def tokenize(self, texts: list[Text]) -> list[TokenIds]: ...

    def forward(self, rows: list[TokenIds]) -> Outputs: ...


def check_parity(predictor: _Checked, model_dir: ModelDir) -> None:
    """Run the golden texts and compare token ids, vectors and logits.

    Raises:
        ModelDirError: Something strays further than the manifest's bound for the precision; the
            message names the text, what was found and what to try.
    """
    golden = model_dir.golden_texts()
    bound = model_dir.manifest.parity[predictor.precision]
    cut = predictor.tokenize([_text_of(entry) for entry in golden])
    rows = [row for row in cut if is_first(row)]
    for entry, row in zip(golden, rows, strict=True):
        if tuple(row.input_ids) != entry.input_ids:
            raise ModelDirError(
                f"{model_dir.path}: golden text {entry.text!r} is cut into other tokens than at "
                "export; install the tokenizers version of the manifest"
            )
    outputs = predictor.forward(rows)
    advice = (
        f"engine {predictor.engine} in {predictor.precision} cannot serve this model here; "
        "try precision fp32 or another engine"
    )
    expected = np.array([entry.vector for entry in golden], dtype=np.float32)
    cosine = cosines(outputs.vectors, expected)
    worst = int(np.argmin(np.nan_to_num(cosine, nan=-1.0)))
    if not cosine[worst] >= bound.min_cosine:
        raise ModelDirError(
            f"{model_dir.path}: vector of golden text {golden[worst].text!r} has cosine "
            f"{cosine[worst]:.6f} to the trained network's, {bound.min_cosine} needed; {advice}"
        )
    if outputs.logits is None:
        return
    found = [flat_logits(logits, row) for logits, row in zip(outputs.logits, rows, strict=True)]
    logits = np.concatenate([np.array(entry.logits, dtype=np.float32) for entry in golden])
    error = float(np.abs(np.concatenate(found) - logits).max())
    if not error <= bound.max_logit_error:
        raise ModelDirError(
            f"{model_dir.path}: logits of the golden texts differ by {error:.6f} from the trained "
            f"network's, at most {bound.max_logit_error} allowed; {advice}"
        )


def cosines(a_NH: NDArray[np.float32], b_NH: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of each pair of rows, [N]; 1 for two zero vectors."""
    a_N, b_N = np.linalg.norm(a_NH, axis=1), np.linalg.norm(b_NH, axis=1)
    lengths = a_N * b_N
    cosine = (a_NH * b_NH).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return np.where((a_N == 0) & (b_N == 0), np.float32(1), cosine)


def _text_of(entry: GoldenText) -> Text:
    return entry.text if entry.text_pair is None else (entry.text, entry.text_pair)
