import numpy as np
import pytest

from ernie_ray.config import TinyRecipe
from ernie_ray.jobs.export_start import export_start
from ernie_ray.jobs.storage import Storage
from ernie_ray.models.pretrained import from_pretrained
from tests.tiny_models import VOCAB, word_texts

WORDS = "embeddings.word.weight"


@pytest.fixture
def start(tiny_embedding_dir, tmp_path):
    def export(**vocabulary):
        shape = {
            "num_layers": 1, "hidden_size": 32, "num_heads": 4, "ffn_size": 64, "max_tokens": 32,
        }  # fmt: skip
        recipe = TinyRecipe.model_validate(
            {
                "data": {"train": "a", "dev": "b", "test": "c"},
                "teacher": {"model": "t"},
                "student": shape,
                "vocabulary": vocabulary,
            }
        )
        place = str(tmp_path / "start")
        export_start(recipe, str(tiny_embedding_dir), word_texts(), place, storage=Storage())
        return from_pretrained(place)

    return export


def test_a_student_may_read_with_its_teachers_pieces_trimmed(start, tiny_embedding_dir):
    teacher, student = from_pretrained(str(tiny_embedding_dir)), start(kind="teacher")
    assert "good" in student.tokenizer.get_vocab()
    for piece, row in student.tokenizer.get_vocab().items():
        np.testing.assert_array_equal(
            student.weights[WORDS][row],
            teacher.weights[WORDS][teacher.tokenizer.token_to_id(piece)],
        )


def test_a_student_may_read_with_a_tokenizer_that_is_given(start, tmp_path):
    (tmp_path / "vocab.txt").write_text(
        "\n".join([*VOCAB[:5], "房间", "房", "间", "##间"]), "utf-8"
    )
    student = start(kind="given", folder=str(tmp_path))
    assert student.config.vocab_size == 9
    assert student.tokenizer.encode("房间").tokens == ["[CLS]", "房", "间", "[SEP]"]
