import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_ray.errors import DataError, SourceError
from ernie_ray.modeldir import VocabularySpec
from ernie_ray.modeldir.vocabulary import UNKNOWN_ID
from ernie_ray.text.cutter import cutter_from_bytes, read_cutter
from ernie_ray.text.student_tokenizer import hashed_ngrams, normalised, student_tokenizer
from ernie_ray.text.student_vocabulary import VocabularySettings, build_vocabulary
from ernie_ray.text.tokenizer import TextTokenizer
from ernie_ray.text.unigram import sample_of
from tests.tiny_models import tiny_encoder

CORPUS = [
    "房间很干净，服务也很热情",
    "书店的书很好，推荐给大家",
    "The room was clean",
    "很好很好",
] * 5
KINDS = ("characters", "words", "subwords", "ngrams")


def vocabulary(kind, **changes):
    return build_vocabulary(
        VocabularySettings(kind, **{"max_pieces": 60, "bucket_bits": 10, **changes}), CORPUS
    )


VOCABULARIES = {kind: vocabulary(kind) for kind in KINDS}


def ids(kind, text, max_tokens=50):
    (row,) = student_tokenizer(VOCABULARIES[kind], max_tokens=max_tokens).encode([text])
    return [int(i) for i in row.input_ids]


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(max_size=80), max_tokens=st.integers(4, 40))
def test_any_text_gives_at_least_one_id_of_the_vocabulary_and_no_more_than_allowed(
    kind, text, max_tokens
):
    found = ids(kind, text, max_tokens)
    assert 1 <= len(found) <= max_tokens
    assert all(1 <= i < VOCABULARIES[kind].size for i in found)


@pytest.mark.parametrize("kind", KINDS)
@given(a=st.text(max_size=60), b=st.text(max_size=60))
def test_of_a_pair_each_text_gets_at_most_half(kind, a, b):
    (row,) = student_tokenizer(VOCABULARIES[kind], max_tokens=20).encode([(a, b)])
    assert len(row.input_ids) == len(row.token_type_ids)
    assert row.token_type_ids == sorted(row.token_type_ids)
    for part in (0, 1):
        assert 1 <= row.token_type_ids.count(part) <= 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_survives_its_file(kind, tmp_path):
    path = tmp_path / "vocabulary.json"
    path.write_text(VOCABULARIES[kind].model_dump_json(), encoding="utf-8")
    rows = read_cutter(path, max_tokens=50).encode(CORPUS)
    assert [list(row.input_ids) for row in rows] == [ids(kind, text) for text in CORPUS]


def test_case_and_white_space_do_not_matter():
    assert normalised(" The  Room\n", lowercase=True) == "the room"
    assert ids("characters", "THE\t\tROOM") == ids("characters", " the room ")
    cased = vocabulary("characters", lowercase=False)
    (row,) = student_tokenizer(cased, max_tokens=9).encode(["tHE"])
    assert row.input_ids[1:] == [UNKNOWN_ID, *row.input_ids[2:]]


def test_words_are_known_or_unknown_as_a_whole():
    found = ids("words", "房间很干净 zebra")
    assert found[-1] == UNKNOWN_ID
    assert UNKNOWN_ID not in found[:-1]


def test_subwords_join_what_often_stands_together():
    assert len(ids("subwords", "很好很好")) < len(ids("characters", "很好很好"))


@pytest.mark.parametrize("room", [-30, -1, 0, 1, 2, 3, 4])
def test_there_are_no_more_subwords_than_wanted_unless_there_are_more_characters(room):
    characters = {c for text in CORPUS for c in normalised(text, lowercase=True)}
    wanted = len(characters) + room
    pieces = vocabulary("subwords", max_pieces=wanted).pieces
    assert characters <= set(pieces)
    assert len(pieces) <= max(wanted, len(characters))
    assert len(pieces) == len(set(pieces))


def test_truncation_is_said():
    cutter = student_tokenizer(VOCABULARIES["characters"], max_tokens=4)
    assert [row.is_truncated for row in cutter.encode(["房间很好", "房间很好的"])] == [False, True]
    ngrams = student_tokenizer(VOCABULARIES["ngrams"], max_tokens=6)
    assert [row.is_truncated for row in ngrams.encode(["abc", "abcd"])] == [False, True]


def test_ngrams_are_hashed_as_documented():
    def by_hand(run):
        h = 0
        for character in run:
            h = (h + ord(character)) * 0x85EBCA6B % 2**32
            h ^= h >> 15
        return (h * 0x85EBCA6B % 2**32 >> 22) + 2

    runs = ["好", "书", "店", "好书", "书店", "好书店"]
    found = hashed_ngrams("好书店", (1, 2, 3), np.uint32(22))
    assert found.tolist() == [by_hand(run) for run in runs]
    assert hashed_ngrams("好", (2,), np.uint32(22)).tolist() == []


def test_the_order_of_the_texts_does_not_change_a_vocabulary():
    settings = VocabularySettings("words", max_pieces=10)
    assert build_vocabulary(settings, CORPUS) == build_vocabulary(settings, CORPUS[::-1])


def test_subwords_are_trained_on_no_more_texts_than_asked():
    texts = ["好好", "书书", "店店", "龘龘", "鑫鑫"]
    for max_texts in (2, 5):
        settings = VocabularySettings("subwords", max_pieces=50, max_texts=max_texts)
        pieces = build_vocabulary(settings, texts).pieces
        assert len({character for piece in pieces for character in piece}) == max_texts


@pytest.mark.parametrize("num_items", [0, 8, 9, 1000])
def test_a_sample_has_each_item_once_and_is_drawn_again_alike(num_items):
    found = sample_of(iter(range(num_items)), 8)
    assert len(set(found)) == len(found) == min(num_items, 8)
    assert found == sample_of(range(num_items), 8)


def test_a_sample_of_pairs_has_first_and_second_texts_and_those_of_all_places():
    found = np.array(sample_of(range(10_000), 1000))
    assert 400 < np.sum(found % 2) < 600
    assert all(50 < np.sum(found // 1000 == tenth) < 150 for tenth in range(10))


def test_what_is_neither_tokenizer_nor_vocabulary_is_refused():
    with pytest.raises(SourceError, match=r"x\.json"):
        cutter_from_bytes(b'{"kind": "colours"}', "x.json", max_tokens=8)
    with pytest.raises(SourceError, match=r"x\.json"):
        cutter_from_bytes(b"\x80", "x.json", max_tokens=8)
    content = tiny_encoder().tokenizer.to_str().encode()
    assert isinstance(cutter_from_bytes(content, "t", max_tokens=8), TextTokenizer)
    with pytest.raises(ValueError, match="a score for each piece"):
        VocabularySpec(kind="subwords", pieces=("a",))
    with pytest.raises(DataError, match="min_count"):
        build_vocabulary(VocabularySettings("characters", min_count=99), ["好"])
    assert json.loads(VOCABULARIES["ngrams"].model_dump_json())["pieces"] == []
