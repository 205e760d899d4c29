"""Make the model directory that a Tiny student starts as: its vocabulary, its shape, its weights.

Knows texts and a teacher's encoder; not the chain that goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import tokenizers

from ernie_ray.config import TinyRecipe, VocabularySection
from ernie_ray.distillation.tiny_start import tiny_start
from ernie_ray.jobs.export import export_pretrained
from ernie_ray.jobs.storage import Location, Storage
from ernie_ray.models.pretrained import PretrainedEncoder, from_pretrained, trim_vocabulary
from ernie_ray.text.subword_tokenizer import train_subword_tokenizer
from ernie_ray.text.tokenizer_build import WordCut, tokenizer_from_folder
from ernie_ray.text.vocabulary import single_characters


def given_tokenizer(settings: VocabularySection, storage: Storage) -> tokenizers.Tokenizer | None:
    """Read the tokenizer that a recipe names; None: it names none.

    Raises:
        SourceError: The folder holds none.
    """
    if settings.kind != "given":
        return None
    return tokenizer_from_folder(storage.fetch(settings.folder), WordCut.BERT)


def export_start(
    recipe: TinyRecipe, teacher: str, texts: Iterable[str], name: str, *, storage: Storage
) -> Location:
    """Build a student from a teacher and export it.

    Args:
        recipe: Its vocabulary and shape.
        teacher: Name of the teacher's model directory.
        texts: What a vocabulary is made for.
        name: Where the student's model directory shall stand.
        storage: Resolves both.

    Raises:
        ConfigError: The shape cannot be started from this teacher.
    """
    encoder = from_pretrained(str(storage.fetch(teacher)))
    tokenizer = given_tokenizer(recipe.vocabulary, storage)
    if recipe.vocabulary.kind == "teacher":
        # Keeps the pieces of the prefix, too: the student's.
        encoder = trim_vocabulary(replace(encoder, text_prefix=recipe.student.text_prefix), texts)
        tokenizer = encoder.tokenizer
    student = tiny_start(
        encoder, tokenizer or _trained(recipe.vocabulary, encoder, texts), recipe.student
    )
    return export_pretrained(
        student,
        name,
        recipe.student.name or "tiny",
        max_tokens=recipe.student.max_tokens,
        storage=storage,
    )


def _trained(
    settings: VocabularySection, teacher: PretrainedEncoder, texts: Iterable[str]
) -> tokenizers.Tokenizer:
    return train_subword_tokenizer(
        texts,
        settings.max_pieces,
        lowercase=settings.lowercase,
        characters=single_characters(teacher.tokenizer),
        max_texts=settings.max_texts,
    )
