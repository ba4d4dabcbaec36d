"""core.markdown_subset: whatever is typed, nothing but the allowed tags comes out."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.markdown_subset import TAGS, is_link, to_html

PIECES = st.sampled_from([
    "<script>", "</p>", "<img src=x onerror=alert(1)>", "&lt;", "&", '"', "'", "*", "**", "`", "[", "]", "(", ")", "\\",
    "](", "[a](javascript:alert(1))", '[a](http://x/"onclick="y)', "[a](//evil)", "[a](/runs?x=1&y=2)", "\n", "\n\n",
    "- ", "1. ", "  ", "\t", "\r\n", "\x00", "\u202e", "word", " ", "http://", "https://a.example/b", "![x](http://y)",
])  # fmt: skip
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=24).map("".join)


class Reader(HTMLParser):
    """What a browser would make of it: open tags, attributes, text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.wrong.append(tag)
        if tag == "a":
            self.links.append(dict(attrs).get("href") or "")
            if [name for name, _ in attrs] != ["href", "rel"]:
                self.wrong.append(f"a with {attrs}")
        elif attrs:
            self.wrong.append(f"{tag} with {attrs}")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self.text += data

    def unknown_decl(self, data: str) -> None:
        self.wrong.append(data)

    handle_comment = handle_decl = handle_pi = unknown_decl


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(to_html(text))
    reader.close()
    return reader


@given(TEXTS)
def test_only_the_allowed_tags_come_out(text: str) -> None:
    """Every tag is an allowed one, without other attributes, and closed in order; links lead where links may lead."""
    found = read(text)
    assert (found.wrong, found.open) == ([], [])
    assert all(is_link(link) for link in found.links)


@given(TEXTS)
def test_no_word_is_lost(text: str) -> None:
    """What is typed as words is read as words, in order, whatever marks are around it."""
    words = [sign for sign in text if sign.isalnum() and sign.isascii()]
    shown = read(text)
    said = shown.text + "".join(shown.links)
    assert all(
        said.count(sign) >= words.count(sign) - to_html(text).count("<li>") for sign in set(words) - set("0123456789")
    )


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("", ""),
        ("  \n ", ""),
        ("one\ntwo\n\nthree", "<p>one\ntwo</p>\n<p>three</p>"),
        ("**at 22:00** *or* `x < y`", "<p><strong>at 22:00</strong> <em>or</em> <code>x &lt; y</code></p>"),
        ("**bold *and italic* text**", "<p><strong>bold <em>and italic</em> text</strong></p>"),
        ("2 * 3 * 4 and a*b", "<p>2 * 3 * 4 and a*b</p>"),
        (r"\*plain\* \[x\](y)", "<p>*plain* [x](y)</p>"),
        ("- a\n- b\n  more\n1. c", "<ul><li>a</li><li>b\nmore</li></ul>\n<ol><li>c</li></ol>"),
        ("[here](/runs?a=1&b=2)", '<p><a href="/runs?a=1&amp;b=2" rel="noopener noreferrer">here</a></p>'),
        (
            "[**us**](https://a.example)",
            '<p><a href="https://a.example" rel="noopener noreferrer"><strong>us</strong></a></p>',
        ),
        ("[x](javascript:alert)", "<p>[x](javascript:alert)</p>"),
        ("<b>no</b>", "<p>&lt;b&gt;no&lt;/b&gt;</p>"),
    ],
)
def test_what_it_makes(text: str, html: str) -> None:
    """The markup that there is, and what stays as it was typed."""
    assert to_html(text) == html


@pytest.mark.parametrize(
    "target",
    [
        "javascript:x",
        "JavaScript:x",
        "data:text/html,x",
        "//evil.example",
        "/\\evil.example",
        "http:/\tx",
        "ftp://x",
        "x",
        "",
    ],
)
def test_where_no_link_leads(target: str) -> None:
    """No other scheme, no other site without its scheme, nothing that a browser would read as another address."""
    assert not is_link(target)


def test_a_long_text_of_marks_ends_soon() -> None:
    """Marks that never close are no trap: the longest text of each is read whole."""
    for mark in ("*", "**", "`", "[", "[x](", "**a*", "*a **", "\\", "- "):
        text = (mark * 4000)[:4000]
        assert read(text).wrong == []
