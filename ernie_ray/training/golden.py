"""Texts whose outputs are recorded at export, so that every engine can be checked on load.

They are the project's own, so that no row of a user's data leaves in a model directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import paddle

from ernie_ray.modeldir import GoldenText, ParityBound
from ernie_ray.models.build import Network
from ernie_ray.text.cutter import Cutter
from ernie_ray.text.features import flat_logits, is_first, pad_batch
from ernie_ray.text.tokenizer import Text

GOLDEN_TEXTS = (
    "好",
    "房间很干净，服务也很热情，下次还会再来。",
    "送货太慢，包装都破了，客服一直不回复！",
    "The battery lasts two days, but the screen scratches easily.",
    "这本书的第3章比前两章写得好得多，推荐给初学者😀",
    "Ernie 与 BERT 都是 Transformer 编码器。",
    "a",
    "价格：￥1,299.00（原价 2,000 元）——性价比一般……",
    "naïve café, Straße, Ελλάδα, 서울, 東京",
    # Long enough to be cut at every usual limit.
    "从前有座山，山里有座庙，庙里有个老和尚在给小和尚讲故事。" * 24,
)


def golden_texts(
    network: Network, tokenizer: Cutter, pad_token_id: int, *, is_pair: bool = False
) -> list[GoldenText]:
    """Run the golden texts through the network itself (Paddle, fp32).

    Args:
        network: Trained.
        tokenizer: Cuts as the network was trained; of a text in windows the first one is taken.
        pad_token_id: Fills the batch up.
        is_pair: Give each text its neighbour as second text.
    """
    texts: list[Text] = list(GOLDEN_TEXTS)
    if is_pair:
        texts = list(pairwise(GOLDEN_TEXTS))
    rows = [row for row in tokenizer.encode(texts) if is_first(row)]
    batch = pad_batch(rows, pad_token_id=pad_token_id)
    network.eval()
    with paddle.no_grad():
        output = network(
            paddle.to_tensor(batch.input_ids),
            paddle.to_tensor(batch.token_type_ids),
            paddle.to_tensor(batch.attention_mask),
        )
    vectors = output.vector.numpy()
    logits = np.zeros((len(rows), 0)) if output.logits is None else output.logits.numpy()
    return [
        GoldenText(
            text=text if isinstance(text, str) else text[0],
            text_pair=None if isinstance(text, str) else text[1],
            input_ids=tuple(int(i) for i in row.input_ids),
            vector=vector,
            logits=flat_logits(logit, row).tolist(),
        )
        for text, row, vector, logit in zip(texts, rows, vectors.tolist(), logits, strict=True)
    ]


def parity_bounds(golden: Sequence[GoldenText]) -> dict[str, ParityBound]:
    """State how far an engine may stray at each precision.

    A bf16 number has 8 significant bits, so one rounding errs by up to 0.4 %; over 12 layers 5 % of
    the largest logit was never reached on the models measured. fp16 has 11 bits. int8: see
    docs/decisions/0001-engines.md.
    """
    scale = max([1.0, *(abs(logit) for entry in golden for logit in entry.logits)])
    return {
        "fp32": ParityBound(min_cosine=0.9999, max_logit_error=1e-3 * scale),
        "fp16": ParityBound(min_cosine=0.999, max_logit_error=2e-2 * scale),
        "bf16": ParityBound(min_cosine=0.995, max_logit_error=1e-1 * scale),
        "int8": ParityBound(min_cosine=0.98, max_logit_error=2e-1 * scale),
    }
