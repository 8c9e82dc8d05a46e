"""Text of other people made fit for a page: never as HTML, and with addresses half hidden."""

from __future__ import annotations

import html
import re
from typing import Final

from markupsafe import Markup, escape

# Every alternative ends before the next "<" at the latest, so reading is linear in the length.
_TOKEN: Final = re.compile(r"(?s)<!--|-->|</?([A-Za-z][A-Za-z0-9]*)[^<>]*>|<[!?][^<>]*>|[^<-]+|.")
_BLOCKS: Final = frozenset(
    {
        "address", "article", "blockquote", "br", "dd", "div", "dl", "dt", "h1", "h2", "h3",
        "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "section", "table", "tr", "ul",
    }
)  # fmt: skip
_UNSEEN: Final = frozenset({"script", "style", "head", "title", "template"})
_BLANKS: Final = re.compile(r"\s+")
_EMPTY_LINES: Final = re.compile(r" ?\n\s*\n\s*")
_ADDRESS: Final = re.compile(
    r"([A-Za-z0-9._%+-]{1,64})@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,63}"
)
_QUOTE: Final = Markup('<span class="quote">{}</span>')
_ANCHOR: Final = Markup('<a href="{0}" rel="nofollow noopener noreferrer ugc">{0}</a>')
_LINK: Final = re.compile(r"https?://[^\s<>\"'`]{1,2000}[^\s<>\"'`.,;:!?)\]}]")


def plain_text(kind: str, text: str) -> str:
    """Return what a text part says; of HTML only the words, for a page shows no foreign HTML."""
    if kind != "text/html":
        return text
    words: list[str] = []
    unseen = ""  # the element, or the comment, whose content no reader is meant to see
    for token in _TOKEN.finditer(text):
        name = (token[1] or "").lower()
        closes = token[0].startswith("</")
        if unseen:
            if token[0] == unseen or (closes and name == unseen):
                unseen = ""
        elif token[0] == "<!--":
            unseen = "-->"
        elif name in _UNSEEN and not closes:
            unseen = name
        elif name in _BLOCKS:
            words.append("\n")
        elif not (name or token[0].startswith(("<!", "<?"))):
            words.append(_BLANKS.sub(" ", token[0]))
    return _EMPTY_LINES.sub("\n\n", html.unescape("".join(words))).strip()


def obscured(text: str) -> str:
    """Return a text in which mail addresses cannot be harvested."""
    return _ADDRESS.sub(r"\1@…", text)


def as_html(text: str) -> Markup:
    """Return a letter's text for a page: escaped, its quotes marked, its links to be followed."""
    return Markup("\n").join(
        _QUOTE.format(_line(line)) if line.lstrip().startswith(">") else _line(line)
        for line in text.split("\n")
    )


def _line(line: str) -> Markup:
    made: list[Markup] = []
    at = 0
    for link in _LINK.finditer(line):
        made += (escape(obscured(line[at : link.start()])), _ANCHOR.format(link[0]))
        at = link.end()
    return Markup().join((*made, escape(obscured(line[at:]))))
