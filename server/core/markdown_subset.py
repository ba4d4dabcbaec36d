"""A safe subset of Markdown as HTML: paragraphs, lists, bold, italic, code, links. Pure.

Whatever the text is, only the tags of `TAGS` come out, well nested, and the one attribute `href` (with `rel`) on `a`,
which leads to http, https or a path of this site. Everything else is text and comes out escaped: HTML in it, images,
links to anywhere else. What is no markup stays as it was typed; there is no wrong text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

TAGS = frozenset({"p", "ul", "ol", "li", "strong", "em", "code", "a"})
"""All that can come out."""

_INLINE = re.compile(
    r"(?P<plain>\\[\\`*_\[\]()])"
    r"|`(?P<code>[^`]+)`"
    r"|\[(?P<words>[^\[\]]+)\]\((?P<where>[^()\s]+)\)"
    r"|\*\*(?=\S)(?P<strong>[^*]+(?:\*[^*]+\*[^*]*)*)(?<=\S)\*\*"
    r"|\*(?=[^\s*])(?P<em>[^*]+)(?<=\S)\*"
)
_BULLET = re.compile(r"[-*] +(?P<text>.*)")
_NUMBER = re.compile(r"[0-9]{1,9}[.)] +(?P<text>.*)")
_SCHEMES = ("http://", "https://")


def to_html(text: str) -> str:
    """The HTML of a text; "" of one that has only blanks."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(_block(kind, block) for kind, block in _blocks(lines))


def is_link(target: str) -> bool:
    """Whether a link may lead there: http, https, or a path of this site. Never another scheme or `//host`.

    Browsers take a backslash for a slash and skip control characters, so a target with either is none.
    """
    if any(sign == "\\" or sign <= " " or sign == "\x7f" for sign in target):
        return False
    if target.lower().startswith(_SCHEMES):
        return True
    return target.startswith("/") and not target.startswith("//")


def _blocks(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """(tag, its lines or items): a blank line or another kind of line ends a block."""
    kind, block = "", list[str]()
    for line in lines:
        stripped = line.strip()
        found, content = _kind_of(stripped)
        if found != kind and kind in ("ul", "ol") and found == "p" and line[:1] in (" ", "\t"):
            block[-1] += "\n" + stripped
            continue
        if found != kind:
            if block:
                yield kind, block
            kind, block = found, []
        if found:
            block.append(content)
    if block:
        yield kind, block


def _kind_of(line: str) -> tuple[str, str]:
    if not line:
        return "", ""
    for tag, form in (("ul", _BULLET), ("ol", _NUMBER)):
        match = form.fullmatch(line)
        if match:
            return tag, match["text"]
    return "p", line


def _block(tag: str, block: list[str]) -> str:
    if tag == "p":
        return f"<p>{_inline(chr(10).join(block))}</p>"
    return f"<{tag}>{''.join(f'<li>{_inline(item)}</li>' for item in block)}</{tag}>"


def _inline(text: str, in_link: bool = False) -> str:
    """Markup within a block. What is inside of a mark is shorter than the mark, so this ends."""
    made, end = [], 0
    for match in _INLINE.finditer(text):
        made += [escape(text[end : match.start()]), _mark(match, in_link)]
        end = match.end()
    return "".join([*made, escape(text[end:])])


def _mark(match: re.Match[str], in_link: bool) -> str:
    if match["plain"] is not None:
        return escape(match["plain"][1])
    if match["code"] is not None:
        return f"<code>{escape(match['code'])}</code>"
    if match["words"] is not None:
        if in_link or not is_link(match["where"]):
            return escape(match[0])
        return f'<a href="{escape(match["where"])}" rel="noopener noreferrer">{_inline(match["words"], True)}</a>'
    if match["strong"] is not None:
        return f"<strong>{_inline(match['strong'], in_link)}</strong>"
    return f"<em>{_inline(match['em'], in_link)}</em>"
