"""Whether a model reads single texts or pairs."""

from __future__ import annotations

from collections.abc import Sequence

from ernie_ray.errors import MalformedRequestError
from ernie_ray.modeldir import EncoderConfig, Manifest, TaskSpec
from ernie_ray.tasks.family import family_of


def reads_pairs(manifest: Manifest) -> bool | None:
    """Say whether a model's rows are pairs of texts; None: single texts and pairs alike.

    Most tasks decide it. Classes are given to both, but a student reads what it was trained on.
    """
    family, network = family_of(manifest.task), manifest.network
    if not isinstance(network, EncoderConfig):
        return network.is_pair
    return family.takes_pairs if family.takes_pairs or family.is_per_token else None


def refuse_other_form(
    texts: Sequence[str | tuple[str, str]], task: TaskSpec, takes_pairs: bool
) -> None:
    """Refuse single texts for a model of pairs, and pairs for one of single texts.

    Raises:
        MalformedRequestError: Names the first that has the other form.
    """
    for i, text in enumerate(texts):
        if isinstance(text, str) is takes_pairs:
            of = "question and context" if task.family == "reading" else "texts"
            wanted = f"a pair of {of}" if takes_pairs else "a single text"
            raise MalformedRequestError(f"text {i}: the model takes {wanted}")
