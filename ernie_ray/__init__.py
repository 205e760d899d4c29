"""ernie-ray: fine-tune an ERNIE encoder on Ray, distil it, serve vectors and scores.

Importing the package loads neither ray nor paddle; each command imports what it needs.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
