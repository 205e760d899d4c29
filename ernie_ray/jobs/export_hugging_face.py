"""An encoder to a folder in Hugging Face's layout: there whole, or not at all."""

from __future__ import annotations

import shutil

from ernie_ray.jobs.storage import Location, Storage, staging_path, writing_to
from ernie_ray.models.pretrained import PretrainedEncoder, write_hugging_face
from ernie_ray.models.pretrained.hugging_face import CONFIG


def export_hugging_face(
    pretrained: PretrainedEncoder, target: str | Location, *, storage: Storage
) -> Location:
    """Write an encoder for ``transformers`` and ``sentence-transformers``; no head goes along.

    Args:
        pretrained: Encoder and tokenizer.
        target: Where the folder shall stand; nothing may be there.
        storage: Resolves ``target`` and puts the folder there.

    Returns:
        Where it stands.

    Raises:
        ConfigError: The layout has no such pooling.
        DataError: It cannot be written there.
    """
    location = storage.resolve(target)
    folder = staging_path(location)
    try:
        with writing_to(location):
            folder.mkdir()
            write_hugging_face(pretrained, folder)
        return storage.publish(folder, target, last=CONFIG)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
