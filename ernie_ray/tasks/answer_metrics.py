"""Exact match and F1 of answers, as SQuAD and as CMRC2018 define them, by language.

SQuAD's (evaluation script v2.0; v1.1's differs only where an answer is nothing but articles and
signs): lower case, no punctuation, no articles, words; F1 over the bags of words. CMRC2018's
(``cmrc2018_evaluate.py``): lower case, no punctuation; Chinese characters are units, other text is
cut to words; F1 over the longest common run of units.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from ernie_ray.tasks.word_tokens import word_tokens

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_OTHER_WORD = re.compile(r"[^\W\d_\u3400-\u4dbf\u4e00-\u9fff]+")
_CMRC_HAN = re.compile("[\u4e00-\u9fa5]")
_CMRC_SIGNS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def is_chinese(text: str) -> bool:
    """True if a text is mostly Chinese: the answers in it are measured as CMRC2018's.

    A Chinese character weighs as much as a word of another script. So an English text that quotes
    a Chinese name stays English, and a Chinese text full of Latin names Chinese: every context of
    CMRC2018 and of XQuAD's English part falls on its side.
    """
    num_han = len(_HAN.findall(text))
    return num_han > 0 and num_han >= len(_OTHER_WORD.findall(text))


def exact_match(prediction: str, answers: Sequence[str], *, chinese: bool) -> float:
    """1 if the prediction is one of the answers once both are normalised, else 0.

    No answers at all means that the question has none: then a prediction is right of which
    normalising leaves nothing.
    """
    normal = _without_signs if chinese else _plain
    wanted = {normal(answer) for answer in _counted(answers, chinese=chinese)}
    return float(normal(prediction) in wanted)


def answer_f1(prediction: str, answers: Sequence[str], *, chinese: bool) -> float:
    """Largest F1 of the prediction against the answers; as ``exact_match`` without any."""
    if not answers:
        return exact_match(prediction, answers, chinese=chinese)
    measure = _chinese_f1 if chinese else _word_f1
    return max(measure(prediction, answer) for answer in _counted(answers, chinese=chinese))


def mixed_units(text: str) -> list[str]:
    """Cut a text as CMRC2018's evaluation does: Chinese characters, and words between them."""
    units: list[str] = []
    run = ""
    for character in text.lower().strip():
        if character in _CMRC_SIGNS:
            continue
        if _CMRC_HAN.match(character):
            units += [*word_tokens(run), character]
            run = ""
        else:
            run += character
    return units + word_tokens(run)


def _counted(answers: Sequence[str], *, chinese: bool) -> Sequence[str]:
    """Answers that count; SQuAD drops those of which normalising leaves nothing."""
    if not chinese:
        answers = [answer for answer in answers if _plain(answer)]
    return answers or [""]


def _without_signs(text: str) -> str:
    return "".join(c for c in text.lower().strip() if c not in _CMRC_SIGNS)


def _plain(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def _chinese_f1(prediction: str, answer: str) -> float:
    given, wanted = mixed_units(prediction), mixed_units(answer)
    common = _longest_common_run(given, wanted)
    return 2 * common / (len(given) + len(wanted)) if common else 0.0


def _word_f1(prediction: str, answer: str) -> float:
    given, wanted = _plain(prediction).split(), _plain(answer).split()
    if not given or not wanted:
        return float(given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted)) if common else 0.0


def _longest_common_run(a: Sequence[str], b: Sequence[str]) -> int:
    longest = 0
    before = [0] * (len(b) + 1)
    for unit in a:
        row = [0] * (len(b) + 1)
        for j, other in enumerate(b):
            if unit == other:
                row[j + 1] = before[j] + 1
                longest = max(longest, row[j + 1])
        before = row
    return longest
