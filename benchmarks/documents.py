"""Tables in Markdown, and the parts of a document that a program writes.

Such a part stands between marks, and what people wrote around them stays::

    <!-- figures: NAME -->
    ...
    <!-- end of figures -->
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

_PART: Final = re.compile(
    r"(?P<begin><!-- figures: (?P<name>[a-z0-9-]+) -->\n)(?P<text>.*?)"
    r"(?P<end><!-- end of figures -->)",
    re.DOTALL,
)


def parts_of(document: str) -> dict[str, str]:
    """Return the generated parts of a document by name."""
    return {found["name"]: found["text"] for found in _PART.finditer(document)}


def with_parts(document: str, parts: Mapping[str, str]) -> str:
    """Return a document with some of its generated parts replaced; others stay as they are."""

    def replaced(found: re.Match[str]) -> str:
        text = parts.get(found["name"])
        new = found["text"] if text is None else f"\n{text.strip()}\n\n"
        return f"{found['begin']}{new}{found['end']}"

    return _PART.sub(replaced, document)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False) -> str:
    """Return a table in Markdown, all columns but the first to the right; ``words``, none."""
    lines = [f"| {' | '.join(heads)} |"]
    lines.append("|---|" + ("---|" if words else "---:|") * (len(heads) - 1))
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"
