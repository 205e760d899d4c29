import pytest

from ernie_ray.jobs.constant_answers import constant_accuracy, constant_micro_f1


def test_a_constant_answer_is_the_most_frequent_training_label():
    assert constant_accuracy(["a", "b", "b"], ["a", "b", "b", "b"]) == pytest.approx(0.75)


def test_a_constant_answer_of_several_labels_has_those_worth_most_on_the_training_rows():
    train = ["a|b", "a", "a|b", "", "c"]
    assert constant_micro_f1(train, ["a|b", "c"]) == pytest.approx(2 * 2 / (2 * 2 + 3))
    assert constant_micro_f1(["", ""], ["a"]) == 0
