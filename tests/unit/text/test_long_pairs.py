"""Pairs of long texts: the same rows as ever, without all combinations of what is dropped."""

import pytest

from ernie_ray.text.spans import PlacingTokenizer
from ernie_ray.text.tokenizer import TextTokenizer
from tests.tiny_models import tiny_encoder

TEXT = "房间很干净，服务也很热情。good 书店 "


def pieces(tokenizer, pair):
    return len(tokenizer._tokenizer.encode(*tokenizer._input(pair)).overflowing)


@pytest.mark.parametrize("lengths", [(40, 40), (40, 1), (1, 40), (20, 4), (4, 20), (9, 8)])
def test_long_pairs_are_cut_as_if_all_of_them_had_been_looked_at(lengths):
    pair = tuple(TEXT * length for length in lengths)
    tokenizer = TextTokenizer(tiny_encoder().tokenizer, max_tokens=16, text_prefix="好")
    (row,) = tokenizer.encode([pair])
    whole = tokenizer._tokenizer.encode("好" + pair[0], "好" + pair[1])
    assert (row.input_ids, row.is_truncated) == (whole.ids, True)
    placing = PlacingTokenizer(tiny_encoder().tokenizer, max_tokens=16, text_prefix="好")
    assert placing.place([pair])[0].input_ids == whole.ids


def test_what_is_dropped_of_a_pair_does_not_grow_with_its_length():
    tokenizer = TextTokenizer(tiny_encoder().tokenizer, max_tokens=16)
    assert pieces(tokenizer, (TEXT * 1000, TEXT * 1000)) <= 10
