"""Tables for terminals and text files."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(lines: Sequence[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right.

    Args:
        lines: Equally many cells each; the header first.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in
                  enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]  # fmt: skip
    return "\n".join(line.rstrip() for line in text)
