"""Labels begin and end with what one sees."""

import pytest

from ernie_ray.tasks.answer_spans import locate
from ernie_ray.text.features import NO_PLACE
from ernie_ray.text.row_values import entities_label
from ernie_ray.text.unseen import narrowed
from ernie_ray.text.windows import visible_part


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("中国", (0, 2)),
        ("\u200f中国\u200e", (1, 3)),
        (" \u200b中国\ufeff\n", (2, 4)),
        ("\x00中国\x01", (1, 3)),
        ("☺\u200d☺\ufe0f", (0, 4)),
        ("中\u200d", (0, 2)),
        ("\ue000中国\ufffd", (1, 3)),
        ("\u200b \ufeff", (3, 3)),
    ],
)
def test_a_part_is_narrowed_to_what_is_seen_of_it(text, expected):
    assert narrowed(text, 0, len(text)) == expected


def test_entities_and_answers_are_narrowed():
    text = "去\u200f中国\u200e了"
    entity = [{"start": 1, "end": 5, "label": "LOC"}]
    assert entities_label(entity, "label", None, text, None) == '[[2,4,"LOC"]]'
    assert locate([("\u200f中国\u200e", 1)], text) == ((2, 4), False)
    assert locate([("\u200f中国\u200e", 4)], text) == ((2, 4), True)
    assert locate([("\u200f", 1)], text) == (None, False)


def test_what_is_not_seen_is_no_part_of_a_token():
    assert visible_part("\u200f中国", 0, 2) == (1, 2)
    assert visible_part("\u200f中国", 0, 1) == NO_PLACE
