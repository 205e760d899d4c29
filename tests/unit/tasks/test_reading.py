import gzip
import json
import re
import string
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_ray.modeldir import ReadingSpec
from ernie_ray.tasks import family_of
from ernie_ray.tasks.answer_metrics import answer_f1, exact_match, is_chinese, mixed_units
from ernie_ray.tasks.answer_spans import best_answers, best_threshold, locate, token_span
from ernie_ray.tasks.reading import CUT, DROPPED, FOUND_ELSEWHERE
from ernie_ray.tasks.word_tokens import word_tokens
from ernie_ray.text.features import NO_PLACE, Window
from ernie_ray.text.row_schema import Row

READER = family_of(ReadingSpec(max_answer_tokens=3))
ENGLISH = st.text(alphabet="ab the,.- A'", max_size=20)
CHINESE = st.text(alphabet="北京大学，。的ab 12-.,'\"()%", max_size=16)


def squad_normal(text):
    """``normalize_answer`` of SQuAD's evaluation script v1.1, as published."""
    text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(prediction, truth):
    """``compute_f1`` of SQuAD's evaluation script v2.0, as published."""
    given, wanted = squad_normal(prediction).split(), squad_normal(truth).split()
    common = Counter(wanted) & Counter(given)
    num_same = sum(common.values())
    if len(wanted) == 0 or len(given) == 0:
        return int(wanted == given)
    if num_same == 0:
        return 0
    precision, recall = 1.0 * num_same / len(given), 1.0 * num_same / len(wanted)
    return (2 * precision * recall) / (precision + recall)


CMRC_SIGNS = [
    "-", ":", "_", "*", "^", "/", "\\", "~", "`", "+", "=", "，", "。", "：", "？", "！", "“", "”",
    "；", "’", "《", "》", "……", "·", "、", "「", "」", "（", "）", "－", "～", "『", "』",
]  # fmt: skip


def cmrc_segments(text):
    """``mixed_segmentation(..., rm_punc=True)`` of cmrc2018_evaluate.py, as published.

    Its ``nltk.word_tokenize`` has a test of its own.
    """
    text, segments, run = str(text).lower().strip(), [], ""
    for char in text:
        if char in CMRC_SIGNS:
            continue
        if re.search(r"[\u4e00-\u9fa5]", char) or char in CMRC_SIGNS:
            if run != "":
                segments.extend(word_tokens(run))
                run = ""
            segments.append(char)
        else:
            run += char
    if run != "":
        segments.extend(word_tokens(run))
    return segments


def cmrc_f1(prediction, answer):
    """``calc_f1_score`` with ``find_lcs`` of cmrc2018_evaluate.py, as published."""
    s1, s2 = cmrc_segments(answer), cmrc_segments(prediction)
    m = [[0 for _ in range(len(s2) + 1)] for _ in range(len(s1) + 1)]
    longest = 0
    for i in range(len(s1)):
        for j in range(len(s2)):
            if s1[i] == s2[j]:
                m[i + 1][j + 1] = m[i][j] + 1
                longest = max(longest, m[i + 1][j + 1])
    if longest == 0:
        return 0
    precision, recall = 1.0 * longest / len(s2), 1.0 * longest / len(s1)
    return (2 * precision * recall) / (precision + recall)


@given(ENGLISH, st.lists(ENGLISH, max_size=3))
@settings(max_examples=200)
def test_english_answers_are_measured_as_squad_measures_them(prediction, answers):
    # ``get_raw_scores`` of SQuAD's evaluation script v2.0, as published.
    gold = [answer for answer in answers if squad_normal(answer)]
    if not gold:
        gold = [""]
    expected = max(squad_f1(prediction, answer) for answer in gold)
    assert answer_f1(prediction, answers, chinese=False) == pytest.approx(expected)
    is_same = max(int(squad_normal(answer) == squad_normal(prediction)) for answer in gold)
    assert exact_match(prediction, answers, chinese=False) == float(is_same)


@given(CHINESE, st.lists(CHINESE, min_size=1, max_size=3))
@settings(max_examples=200)
def test_chinese_answers_are_measured_as_cmrc2018_measures_them(prediction, answers):
    expected = max(cmrc_f1(prediction, answer) for answer in answers)
    assert answer_f1(prediction, answers, chinese=True) == pytest.approx(expected)

    def normal(text):
        return "".join(char for char in text.lower().strip() if char not in CMRC_SIGNS)

    is_same = any(normal(prediction) == normal(answer) for answer in answers)
    assert exact_match(prediction, answers, chinese=True) == float(is_same)


def test_words_between_chinese_characters_stay_whole():
    assert mixed_units("《战国无双3》由ω-force 1.5开发") == [
        *"战国无双", "3", "由", "ωforce", "1.5", "开", "发",
    ]  # fmt: skip


def test_the_language_of_a_text_is_that_of_most_of_it():
    assert is_chinese("在 Paris")
    assert is_chinese("《Super Mario Bros. Super Show》是一部电视剧，共五十二集。")
    assert not is_chinese("Paris, ça va?")
    assert not is_chinese("The Yuan dynasty (元朝, Yuán Cháo) was founded by Kublai Khan in 1271.")
    assert not is_chinese("1,271")


def test_an_english_answer_beside_a_chinese_name_is_measured_by_squads_rules():
    context = "The Yuan dynasty (元朝) was founded by Kublai Khan."
    labelled = row([["Yuan dynasty", 4]], context=context)
    (example,) = READER.examples(labelled, windows([NO_PLACE, (0, 8), (9, 16)]), measures=True)
    found = READER.metrics([logits(3, 1, 2)], [], [example.info])
    assert found["exact_match"] == 1.0  # SQuAD leaves the article out, CMRC2018 does not
    assert READER.is_right(labelled, {"answer": "the Yuan dynasty"})


@pytest.mark.parametrize(("folder", "chinese"), [("cmrc2018", True), ("xquad_en", False)])
def test_every_context_of_a_published_set_is_measured_by_that_sets_rules(folder, chinese):
    files = sorted((Path("../shared/data/mrc") / folder).glob("*.json.gz"))
    if not files:
        pytest.skip(f"../shared/data/mrc/{folder} is not there")
    for file in files:
        data = json.loads(gzip.decompress(file.read_bytes()))["data"]
        contexts = [p["context"] for article in data for p in article["paragraphs"]]
        assert [is_chinese(context) for context in contexts] == [chinese] * len(contexts)


def test_a_question_without_answers_is_right_only_if_none_is_given():
    assert answer_f1("", [], chinese=True) == exact_match("", [], chinese=False) == 1.0
    assert answer_f1("x", [], chinese=True) == exact_match("x", [], chinese=False) == 0.0
    # Of these nothing is left to be wrong.
    assert answer_f1("The.", [], chinese=False) == exact_match("The.", [], chinese=False) == 1.0
    assert answer_f1("，", [], chinese=True) == exact_match("，", [], chinese=True) == 1.0


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([["bc", 1]], ((1, 3), False)),
        ([["bc", 5]], ((5, 7), False)),
        ([["bc", 4]], ((5, 7), True)),  # the nearest place
        ([["zz", 0], ["a", 0]], ((0, 1), False)),  # another answer stands where it says
        ([["zz", 0], ["d", 0]], ((3, 4), True)),
        ([["zz", 0]], (None, False)),
        ([[" a", 0]], ((0, 1), True)),
        ([["bc", -1]], ((1, 3), True)),  # a start that is not known
        ([], (None, False)),
    ],
)
def test_answers_are_found_where_they_stand(answers, expected):
    assert locate(answers, "abcd bcd") == expected


def test_an_answer_is_marked_only_where_a_window_holds_all_of_it():
    places = [NO_PLACE, NO_PLACE, (0, 2), (2, 4), (5, 6), NO_PLACE]
    assert token_span(places, (2, 6)) == (3, 4)
    assert token_span(places, (1, 3)) == (2, 3)
    assert token_span(places, (5, 8)) is None
    assert token_span(places, None) is None


def row(answers, context="abcd bcd"):
    return Row(0, "q", context, json.dumps(answers), "")


def windows(*groups, text="abcd bcd"):
    return [
        Window([7] * len(p), [0] * len(p), offsets=p, text=text, is_first=i == 0)
        for i, p in enumerate(groups)
    ]


def test_rows_whose_answer_cannot_be_found_teach_nothing_but_are_measured():
    parts = windows([NO_PLACE, (0, 1)])
    assert READER.examples(row([["zz", 0]]), parts, measures=False) == []
    assert len(READER.examples(row([["zz", 0]]), parts, measures=True)) == 1
    whole = windows([NO_PLACE, (0, 1), (1, 3), (3, 4), (5, 8)])
    assert READER.note(row([["zz", 0]]), whole) == DROPPED
    assert READER.note(row([["bc", 2]]), whole) == FOUND_ELSEWHERE
    assert READER.note(row([["bc", 1]]), whole) == READER.note(row([]), whole) == ""


def test_an_answer_that_no_window_holds_whole_is_not_learnt_as_no_answer():
    parts = windows([NO_PLACE, (0, 1), (1, 2), (2, 3)], [NO_PLACE, (2, 3), (3, 4), (5, 6)])
    long, short = row([["bcd", 1]]), row([["bc", 1]])
    assert READER.examples(long, parts, measures=False) == []
    assert READER.note(long, parts) == CUT
    assert len(READER.examples(long, parts, measures=True)) == 2
    assert [e.label.tolist() for e in READER.examples(short, parts, measures=False)] == [
        [2, 3],
        [0, 0],
    ]
    assert READER.note(short, parts) == ""
    # A question without an answer is learnt from every window.
    assert len(READER.examples(row([]), parts, measures=False)) == 2


def test_of_windows_beside_the_answer_a_share_is_learnt_from_and_all_are_measured():
    answer, other = [NO_PLACE, (0, 1), (1, 2), (2, 3)], [NO_PLACE, (4, 5), (5, 8)]
    parts = windows(answer, *[other] * 200)
    few = family_of(ReadingSpec(answerless_share=0.25))
    learnt = few.examples(row([["bc", 1]]), parts, measures=False)
    assert [e.label.tolist() for e in learnt if e.label.any()] == [[2, 3]]
    assert 25 < len(learnt) - 1 < 75
    again = few.examples(row([["bc", 1]]), parts, measures=False)
    assert len(again) == len(learnt)
    assert len(few.examples(row([["bc", 1]]), parts, measures=True)) == 201
    assert len(few.examples(row([]), parts, measures=False)) == 201
    assert len(READER.examples(row([["bc", 1]]), parts, measures=False)) == 201
    none = family_of(ReadingSpec(answerless_share=0.0))
    assert len(none.examples(row([["bc", 1]]), parts, measures=False)) == 1


def logits(num_tokens, start=None, end=None, lead=9.0):
    table = np.zeros((num_tokens, 2), np.float32)
    if start is not None:
        table[start, 0] = table[end, 1] = lead
    return table


def test_the_best_answer_comes_from_whichever_window_leads_most():
    parts = windows([NO_PLACE, (0, 1), (1, 2), (2, 3)], [NO_PLACE, (2, 3), (3, 4), (5, 6)])
    stacked = np.stack([logits(4, 1, 2, lead=2.0), logits(4, 2, 3)])
    (result,) = READER.decode(stacked, parts)
    assert (result["answer"], result["start"], result["end"]) == ("d b", 3, 6)
    assert result["nbest"][0]["text"] == "d b"
    assert 0.9 < result["score"] <= 1
    scores = [answer["score"] for answer in result["nbest"]]
    assert scores == sorted(scores, reverse=True)


def test_answers_keep_the_length_limit_and_never_end_before_they_start():
    places = [(i, i + 1) for i in range(8)]
    table = np.zeros((8, 2), np.float32)
    table[6, 0] = table[1, 1] = 9.0
    found = best_answers([(table, places)], 3)
    assert all(0 < answer.end - answer.start <= 3 for answer in found)


def test_below_the_threshold_none_is_given():
    reader = family_of(ReadingSpec(no_answer_threshold=5.0))
    parts = windows([NO_PLACE, (0, 1)])
    for lead, expected in ((9.0, "a"), (1.0, "")):
        (result,) = reader.decode(logits(2, 1, 1, lead)[None], parts)
        assert result["answer"] == expected
    assert result["start"] is None
    assert 0.9 < result["score"] <= 1


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
@settings(max_examples=100)
def test_the_tuned_threshold_is_the_best_of_all(seed, size):
    rng = np.random.default_rng(seed)
    leads = rng.permutation(size * 2)[:size].astype(float)
    worth = rng.integers(0, 3, size) / 2
    none = rng.integers(0, 2, size).astype(float)
    questions = list(zip(leads.tolist(), worth.tolist(), none.tolist(), strict=True))

    def total(threshold):
        return np.where(leads >= threshold, worth, none).sum()

    tuned = best_threshold(questions)
    assert total(tuned) == max(total(t) for t in np.arange(-1.5, size * 2 + 1))


def test_metrics_use_the_rules_of_each_questions_language_and_tune_the_threshold():
    zh = row([["北京", 0]], context="北京，中国")
    en = row([["The Bc", 0]], context="The Bc d")
    none = row([], context="x y")
    outputs, infos = [], []
    for labelled, places, span in (
        (zh, [NO_PLACE, (0, 2), (2, 3)], (1, 2)),
        (en, [NO_PLACE, (0, 3), (4, 6)], (2, 2)),
        (none, [NO_PLACE, (0, 1)], (None, None)),
    ):
        (example,) = READER.examples(labelled, windows(places), measures=True)
        outputs.append(logits(len(places), *span))
        infos.append(example.info)
    found = READER.metrics(outputs, [], infos)
    # "北京，" loses its comma, "Bc" needs no article, and a lead of 0 is refused.
    assert found["exact_match"] == found["f1"] == 1.0
    tuned = READER.tuned(found)
    assert 0 < tuned.no_answer_threshold <= 18
    assert "no_answer_threshold" not in family_of(tuned).metrics(outputs, [], infos)
    answered = READER.metrics(outputs[:2], [], infos[:2])
    assert "no_answer_threshold" not in answered
    assert READER.tuned(answered).no_answer_threshold is None
    assert READER.metrics([], [], [])["f1"] == 0.0
