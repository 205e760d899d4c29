import unicodedata

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_ray.config import load_recipe
from ernie_ray.errors import ConfigError
from ernie_ray.text.features import NO_PLACE, rows_of_texts
from ernie_ray.text.sentencepiece_file import PieceModel
from ernie_ray.text.spans import PlacingTokenizer
from ernie_ray.text.tokenizer import TextTokenizer
from ernie_ray.text.tokenizer_build import (
    sentencepiece_tokenizer,
    wordpiece_tokenizer,
    xlm_unigram_tokenizer,
)
from ernie_ray.text.windows import WindowTokenizer, cut_to_characters, visible_part
from tests.tiny_models import CHARACTERS, VOCAB

HAN = CHARACTERS[: CHARACTERS.index("，")]  # each is one token
PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "▁",
    "国银",
    "中国",
    "银行",
    "▁中国",
    "▁ab",
    "ab",
    *"中国银行ab。é",
]


def unigram() -> tokenizers.Tokenizer:
    scores = [0.0] * 4 + [
        -float(len(PIECES) - i) / len(piece) for i, piece in enumerate(PIECES[4:])
    ]
    return xlm_unigram_tokenizer(PIECES, scores, unk_id=3)


def windows(tokenizer, text, max_tokens=16, prefix=""):
    return WindowTokenizer(tokenizer, max_tokens=max_tokens, text_prefix=prefix).encode([text])


def places_of(rows):
    return sorted({place for row in rows for place in row.offsets if place != NO_PLACE})


def test_pieces_that_straddle_an_edge_are_cut_to_characters():
    tokenizer = unigram()
    whole = places_of(windows(tokenizer, "中国银行"))
    assert any(end - start > 1 for start, end in whole)
    cut_to_characters(tokenizer)
    assert places_of(windows(tokenizer, "中国银行")) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    latin = places_of(windows(tokenizer, "ab 中"))
    assert latin == [(0, 2), (3, 4)]


@pytest.mark.parametrize("prefix", ["", "query: "])
@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("中\r\n国", ["中", "国"]),
        ("  中 国", ["中", "国"]),
        ("😀中", ["😀", "中"]),
        ("e\u0301中", ["e\u0301", "中"]),
        ("👩\u200d🚒中", ["👩\u200d", "🚒", "中"]),
    ],
)
def test_places_are_those_of_the_original_text(text, seen, prefix):
    tokenizer = unigram()
    cut_to_characters(tokenizer)
    places = places_of(windows(tokenizer, text, max_tokens=32, prefix=prefix))
    assert [text[a:b] for a, b in places if text[a:b].strip()][-1] == seen[-1]
    joined = "".join(text[a:b] for a, b in places)
    assert set("".join(text.split())) - set(joined) <= {"\u200d", "\u0301"}
    assert all(not text[a:b][0].isspace() and not text[a:b][-1].isspace() for a, b in places)


@pytest.mark.parametrize("prefix", ["", "问: "])
def test_a_word_marker_between_two_characters_takes_none_of_them(prefix):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "我", "用", "使用", "，", "机", "▁phone", "▁12"]
    pieces += ["▁", "q", "z"]
    scores = (0.0,) * 4 + tuple(-float(i) for i in range(len(pieces) - 4))
    model = PieceModel(tuple(pieces), scores, unk_id=1, character_map=b"")
    text = "我用Phone机，phone 12 使用12使用qz"
    words = ["我", "用", "Phone", "机", "，", "phone", "12", "使用", "12", "使用", "q", "z"]
    tokenizer = sentencepiece_tokenizer(model, pieces)
    placed = PlacingTokenizer(tokenizer, max_tokens=32, text_prefix=prefix).place(
        [text, ("我", text)]
    )
    for row, i in zip(placed, (0, 1), strict=True):
        assert [text[a:b] for a, b in row.offsets[i] if (a, b) != NO_PLACE] == words
    for max_tokens in (32, 8):
        rows = windows(tokenizer, text, max_tokens=max_tokens, prefix=prefix)
        assert [text[a:b] for a, b in places_of(rows)] == words


@given(st.text(alphabet=CHARACTERS + " \n", min_size=1, max_size=200).filter(str.strip))
@settings(max_examples=60)
def test_windows_keep_the_limit_and_cover_every_character(text):
    rows = windows(wordpiece_tokenizer(VOCAB), text, max_tokens=12)
    assert all(len(row) <= 12 for row in rows)
    assert [row.is_first for row in rows] == [True] + [False] * (len(rows) - 1)
    covered = {i for start, end in places_of(rows) for i in range(start, end)}
    assert covered == {i for i, character in enumerate(text) if not character.isspace()}


def test_windows_overlap_by_a_quarter():
    rows = windows(wordpiece_tokenizer(VOCAB), "一是不了" * 10, max_tokens=18)
    first, second = (places_of([row]) for row in rows[:2])
    assert len(set(first) & set(second)) == 4


@given(
    st.text(alphabet=HAN, min_size=1, max_size=80),
    st.text(alphabet=HAN, min_size=1, max_size=200),
)
@settings(max_examples=60)
def test_every_window_of_a_pair_holds_the_question_and_all_together_the_context(question, context):
    rows = WindowTokenizer(wordpiece_tokenizer(VOCAB), max_tokens=24).encode([(question, context)])
    assert all(len(row) <= 24 for row in rows)
    assert rows[0].is_truncated == (len(question) > 8)
    starts = [list(row.input_ids)[: 1 + min(len(question), 8)] for row in rows]
    assert all(start == starts[0] for start in starts)
    covered = {i for start, end in places_of(rows) for i in range(start, end)}
    assert covered == set(range(len(context)))


@pytest.mark.parametrize("prefix", ["", "ab ab: "])
@pytest.mark.parametrize("tokenizer", [wordpiece_tokenizer(VOCAB), unigram()])
def test_the_smallest_window_that_a_reader_may_have_holds_some_context(tokenizer, prefix):
    with pytest.raises(ConfigError, match="max_tokens=15"):
        load_recipe("mrc", ["data.train=x", "model.max_tokens=15"])
    size = load_recipe("mrc", ["data.train=x", "model.max_tokens=16"]).model.max_tokens
    rows = WindowTokenizer(tokenizer, max_tokens=size, text_prefix=prefix).encode(
        [("中国银行" * 9, "银行中国" * 20)]
    )
    assert all(len(row) <= size for row in rows)
    covered = {i for start, end in places_of(rows) for i in range(start, end)}
    assert covered == set(range(80))


def test_rows_are_grouped_by_text():
    cutter = WindowTokenizer(wordpiece_tokenizer(VOCAB), max_tokens=10)
    rows = cutter.encode(["一" * 30, "二", "三" * 12])
    groups = rows_of_texts(rows)
    assert [len(group) for group in groups] == [5, 1, 2]
    assert [i for group in groups for i in group] == list(range(len(rows)))


@given(
    st.text(alphabet=HAN, min_size=1, max_size=150),
    st.text(alphabet=HAN, min_size=1, max_size=150),
    st.integers(8, 60),
)
@settings(max_examples=80)
def test_pairs_are_cut_longest_first_and_never_pass_the_limit(first, second, max_tokens):
    (row,) = TextTokenizer(wordpiece_tokenizer(VOCAB), max_tokens=max_tokens).encode(
        [(first, second)]
    )
    room = max_tokens - 3
    sizes = [row.token_type_ids.count(0) - 2, row.token_type_ids.count(1) - 1]
    assert len(row) == min(len(first) + len(second) + 3, max_tokens)
    assert row.is_truncated == (len(first) + len(second) > room)
    if row.is_truncated:
        # The shorter text keeps all it has, or both end up alike.
        shorter = min(len(first), len(second))
        assert min(sizes) >= min(shorter, room // 2)


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        (" a ", (0, 3), (1, 2)),
        ("  ", (0, 2), NO_PLACE),
        ("e\u0301x", (0, 1), (0, 2)),
        ("ab", (-3, 1), (0, 1)),
        ("☺\ufe0f", (0, 1), (0, 2)),
        (unicodedata.normalize("NFD", "울"), (0, 1), (0, 3)),
    ],
)
def test_a_place_is_what_one_sees_of_a_token(text, span, expected):
    assert visible_part(text, *span) == expected
