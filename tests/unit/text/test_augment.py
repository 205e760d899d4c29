from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_ray.text.augment import (
    AugmentSettings,
    WordsByTag,
    add_noise,
    augmented,
    copy_random,
    replace_words,
    take_fragment,
)
from ernie_ray.text.segmenter import NO_TAG, TaggedWord, tag_words

tagged_words = st.lists(
    st.builds(TaggedWord, st.text("好坏书店ab ", min_size=1, max_size=3), st.sampled_from("nva")),
    min_size=1,
    max_size=30,
)
randoms = st.integers(0, 2**32).map(Random)
texts = st.text(min_size=1, max_size=60)


@settings(max_examples=60)
@given(texts)
def test_tagged_words_joined_are_the_text(text):
    assert "".join(word.text for word in tag_words(text)) == text


def test_words_have_parts_of_speech_and_the_rest_has_none():
    tags = {
        word.text: word.tag for word in tag_words("房间 clean and 干净，wonderful running 3.5！")
    }
    assert tags["房间"] == "n"
    assert tags["干净"] == "a"
    assert tags["and"] == "en:conjunction"
    assert tags["wonderful"] == "en:adjective"
    assert tags["running"] == "en:-ing"
    assert {tags[sign] for sign in ("，", "！", " ")} == {NO_TAG}


@given(tagged_words, randoms, st.integers(1, 5))
def test_a_fragment_is_a_run_of_the_words_and_never_too_short(words, random, min_words):
    fragment = take_fragment(words, min_words, random)
    starts = range(len(words) - len(fragment) + 1)
    assert any(words[i : i + len(fragment)] == fragment for i in starts)
    assert len(fragment) >= min(min_words, len(words))


@given(tagged_words, randoms)
def test_replacement_keeps_number_and_parts_of_speech(words, random):
    known = WordsByTag.of([words])
    replaced = replace_words(words, 0.5, known, random)
    assert [word.tag for word in replaced] == [word.tag for word in words]
    by_tag = {(word.tag, word.text) for word in words}
    assert all((word.tag, word.text) in by_tag for word in replaced)


@given(tagged_words, randoms)
def test_noise_changes_words_in_place_or_not_at_all(words, random):
    noisy = add_noise(words, 0.5, "UNK", random)
    assert len(noisy) == len(words)
    assert all(
        new in (old, TaggedWord("UNK", NO_TAG)) for old, new in zip(words, noisy, strict=True)
    )


@given(tagged_words)
def test_with_all_chances_zero_a_copy_is_the_text(words):
    still = AugmentSettings(
        noise_probability=0, replace_probability=0, fragment_probability=0, min_words=0
    )
    text = "".join(word.text for word in words).strip()
    copy = augmented(words, WordsByTag({}), still, Random(0))
    assert copy == (text or None)


@pytest.mark.parametrize(("text", "is_kept"), [("好。", True), ("好 ", False), ("clean !", True)])
def test_a_copys_length_is_counted_in_words_and_punctuation_marks(text, is_kept):
    still = AugmentSettings(
        noise_probability=0, replace_probability=0, fragment_probability=0, min_words=2
    )
    copy = augmented(tag_words(text), WordsByTag({}), still, Random(0))
    assert copy == (text if is_kept else None)


@given(tagged_words, st.integers(0, 9), st.integers(1, 9))
def test_a_copy_depends_on_seed_row_and_number_alone(words, row, copy):
    known = WordsByTag.of([words])
    made = [augmented(words, known, AugmentSettings(), copy_random(7, row, copy)) for _ in range(2)]
    assert made[0] == made[1]


def test_copies_of_one_row_differ():
    words = tag_words("这家酒店的房间很干净，服务也很热情，下次还会再来，推荐给大家。")
    known = WordsByTag.of([words])
    made = {augmented(words, known, AugmentSettings(), copy_random(1, 0, i)) for i in range(20)}
    assert len(made) > 15


def test_words_change_about_as_often_as_they_should():
    words = [TaggedWord(f"w{i}", "n") for i in range(5000)]
    noisy = add_noise(words, 0.1, "UNK", Random(1))
    assert 400 < sum(word.text == "UNK" for word in noisy) < 600


def test_frequent_words_are_drawn_more_often():
    known = WordsByTag({"n": {"often": 90, "rare": 10}})
    random = Random(5)
    drawn = Counter(known.draw("n", random) for _ in range(2000))
    assert 1700 < drawn["often"] < 1900
    assert known.draw("unknown", random) is None


def test_noise_words_side_by_side_stay_words_of_their_own():
    lost = AugmentSettings(noise_probability=1, replace_probability=0, fragment_probability=0)
    copy = augmented(tag_words("房间干净，再来"), WordsByTag({}), lost, Random(0))
    assert copy == "UNK UNK，UNK UNK"
