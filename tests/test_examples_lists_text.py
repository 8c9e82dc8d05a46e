"""Making text of the HTML that people write."""

import html
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.examples.lists.text import plain_text


@pytest.mark.parametrize(
    "unit", ["<!--", "<a", "<p>", "-->", "<![x", "&", "<script>", "</", "-", "<!doctype "]
)
def test_malformed_html_is_read_in_little_time(unit):
    """However HTML is malformed, the time to read it grows with its length and no faster."""
    before = time.process_time()
    plain_text("text/html", unit * 100_000)
    assert time.process_time() - before < 5


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"])))
def test_the_words_of_html_are_the_words(text):
    """What was escaped into an element comes out as it was; what nobody sees does not."""
    page = f"<head><title>no</title></head><!-- {html.escape(text)} --><p>{html.escape(text)}</p>"
    assert plain_text("text/html", page) == text
