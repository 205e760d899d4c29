from ernie_ray.training.patience import Patience


def test_a_better_value_renews_patience_and_an_equal_one_does_not():
    patience = Patience()
    for value, num_stale in ((0.5, 0), (0.5, 1), (0.4, 2), (0.6, 0), (0.1, 1)):
        patience = patience.after(value)
        assert patience.num_stale == num_stale
    assert patience.best == 0.6


def test_without_a_metric_nothing_changes():
    assert Patience(best=0.5, num_stale=1).after(None) == Patience(best=0.5, num_stale=1)
