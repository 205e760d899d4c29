import numpy as np
import paddle
import pytest
from sklearn.utils.class_weight import compute_class_weight

from ernie_ray.config import TrainingSection
from ernie_ray.errors import ConfigError
from ernie_ray.modeldir import ClassificationSpec, PairSpec, TokenLabelsSpec
from ernie_ray.text.cache import IGNORED
from ernie_ray.training.class_losses import balanced_weights, loss_of
from ernie_ray.training.losses import LOSSES
from tests.tiny_models import tiny_cache

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], np.float32)
LABELS = np.array([[0.0], [2.0]], np.float32)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    rows = [("好", "positive")] * 3 + [("差", "negative")]
    return tiny_cache(tmp_path_factory.mktemp("cache") / "train", rows)


TASK = ClassificationSpec(labels=("negative", "positive"))
THREE = ClassificationSpec(labels=("a", "b", "c"))
TAGS = TokenLabelsSpec(labels=("O", "B-LOC", "I-LOC"))


def value(loss, logits=LOGITS, labels=LABELS):
    return float(loss(paddle.to_tensor(logits), paddle.to_tensor(labels)))


def test_smoothing_is_paddles_label_smoothing(train):
    found = value(
        loss_of("softmax_cross_entropy", TrainingSection(label_smoothing=0.1), train, THREE)
    )
    expected = paddle.nn.CrossEntropyLoss(reduction="sum", label_smoothing=0.1)
    target = expected(paddle.to_tensor(LOGITS), paddle.to_tensor([0, 2]))
    assert found == pytest.approx(float(target), rel=1e-5)


def test_balanced_weights_are_scikit_learns():
    labels = np.array([0, 0, 0, 1, 2, 2], np.float32)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_weights(labels[:, None], 3), expected, rtol=1e-6)
    assert balanced_weights(labels[:, None], 4)[3] == 0.0


def test_rows_of_rare_classes_count_more(train):
    loss = loss_of("softmax_cross_entropy", TrainingSection(class_weights="balanced"), train, TASK)
    plain = LOSSES["softmax_cross_entropy"]
    one = LOGITS[:1, :2]
    for label, weight in ((0.0, 4 / (2 * 1)), (1.0, 4 / (2 * 3))):  # one negative of four rows
        wanted = weight * value(plain, one, np.array([[label]], np.float32))
        assert value(loss, one, np.array([[label]], np.float32)) == pytest.approx(wanted, rel=1e-5)


def test_a_table_gives_the_weights_of_classes(train):
    settings = TrainingSection(class_weights={"positive": 3.0})
    loss = loss_of("softmax_cross_entropy", settings, train, TASK)
    plain = LOSSES["softmax_cross_entropy"]
    one = LOGITS[:1, :2]
    for label, weight in ((0.0, 1.0), (1.0, 3.0)):
        wanted = weight * value(plain, one, np.array([[label]], np.float32))
        assert value(loss, one, np.array([[label]], np.float32)) == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ConfigError, match="no class is called good; there are: negative, positive"):
        loss_of("x", TrainingSection(class_weights={"good": 1.0}), train, TASK)


def test_rows_without_a_label_take_no_part_in_balanced_weights():
    labels = np.array([[0], [np.nan], [1], [1], [IGNORED]], np.float32)
    np.testing.assert_allclose(balanced_weights(labels, 2), [1.5, 0.75])


def test_tokens_are_smoothed_and_weighed_as_texts_are(train):
    settings = TrainingSection(label_smoothing=0.2, class_weights={"O": 0.5})
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2, 4, 3)).astype(np.float32)
    labels = np.array([[IGNORED, 1, 2, IGNORED], [0, IGNORED, IGNORED, IGNORED]], np.float32)
    of_texts = loss_of(
        "softmax_cross_entropy", settings, train, ClassificationSpec(labels=TAGS.labels)
    )
    tokens = [value(of_texts, logits[i, j][None], labels[i, j][None, None])
              for i, j in ((0, 1), (0, 2), (1, 0))]  # fmt: skip
    found = value(loss_of("token_cross_entropy", settings, train, TAGS), logits, labels)
    assert found == pytest.approx((tokens[0] + tokens[1]) / 2 + tokens[2], rel=1e-5)


def test_other_tasks_refuse_smoothing(train):
    with pytest.raises(ConfigError, match=r"label_smoothing and training\.class_weights need"):
        loss_of("squared_error", TrainingSection(label_smoothing=0.1), train, PairSpec())
    assert loss_of("squared_error", TrainingSection(), train, PairSpec()) is LOSSES["squared_error"]


def test_token_loss_is_the_mean_over_a_rows_labelled_tokens_summed_over_rows():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 3)).astype(np.float32)
    labels = np.array([[IGNORED, 1, 2, IGNORED], [0, IGNORED, IGNORED, IGNORED]], np.float32)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    wanted = -(log_p[0, 1, 1] + log_p[0, 2, 2]) / 2 - log_p[1, 0, 0]
    assert value(LOSSES["token_cross_entropy"], logits, labels) == pytest.approx(wanted, rel=1e-5)
    nothing = np.full((2, 4), IGNORED, np.float32)
    assert value(LOSSES["token_cross_entropy"], logits, nothing) == 0.0


def test_span_loss_is_the_mean_of_both_ends_summed_over_rows():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2, 5, 2)).astype(np.float32)
    labels = np.array([[1, 3], [0, 0]], np.float32)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = -(log_p[0, 1, 0] + log_p[0, 3, 1] + log_p[1, 0, 0] + log_p[1, 0, 1]) / 2
    assert value(LOSSES["span_cross_entropy"], logits, labels) == pytest.approx(wanted, rel=1e-5)


def test_squared_error_is_summed_over_rows():
    found = value(LOSSES["squared_error"], np.array([[1.0], [3.0]]), np.array([[0.0], [1.0]]))
    assert found == pytest.approx(5.0)
