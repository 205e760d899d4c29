from ernie_ray.modeldir import ClassificationSpec, PairSpec
from ernie_ray.tasks.wrong_rows import WrongRows
from ernie_ray.text.row_schema import Row


def row(i: int, label: str) -> Row:
    return Row(i, f"text {i}", None, label, f"file:{i}")


def kept(task, max_rows: int, *pairs):
    wrong = WrongRows(task, max_rows)
    for i, (label, result) in enumerate(pairs):
        wrong.take(row(i, label), result)
    return wrong.records()


def test_of_classes_the_first_wrong_rows_are_kept_in_order():
    task = ClassificationSpec(labels=("a", "b"))
    found = kept(task, 2, *[("a", {"label": x}) for x in "abbb"])
    assert [one["row"] for one in found] == ["file:1", "file:2"]
    assert all("error" not in one for one in found)


def test_of_numbers_the_rows_furthest_from_their_label_are_kept_the_worst_first():
    task = PairSpec(low=0.0, high=5.0)
    scores = [("1.0", 1.5), ("5.0", 0.0), ("2.0", 2.0), ("0.0", 3.0), ("5.0", 0.0)]
    found = kept(task, 3, *[(label, {"score": score}) for label, score in scores])
    assert [(one["row"], one["error"]) for one in found] == [
        ("file:1", 5.0),
        ("file:4", 5.0),
        ("file:3", 3.0),
    ]


def test_the_labels_of_a_ranking_are_compared_on_the_scale_of_its_scores():
    task = PairSpec(objective="ranking", low=0.0, high=4.0)
    (found,) = kept(task, 1, ("4", {"score": 0.25}), ("2", {"score": 0.5}))
    assert (found["row"], found["error"]) == ("file:0", 0.75)
