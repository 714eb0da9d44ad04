"""Makes HTML inert: a page of evidence shows what the platform said and never runs it.

Our own faces and pandas' tables are escaped where they are made; this is the second lock, for any other output. The
page's Content-Security-Policy is the third.
"""

from __future__ import annotations

import re

TAGS = frozenset(
    [
        "a",
        "abbr",
        "b",
        "blockquote",
        "br",
        "caption",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "details",
        "div",
        "dl",
        "dt",
        "em",
        "figcaption",
        "figure",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "img",
        "ins",
        "kbd",
        "li",
        "mark",
        "ol",
        "p",
        "pre",
        "q",
        "s",
        "samp",
        "section",
        "small",
        "span",
        "strong",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "time",
        "tr",
        "tt",
        "u",
        "ul",
        "var",
    ]
)
ATTRIBUTES = frozenset(
    [
        "align",
        "alt",
        "aria-hidden",
        "aria-label",
        "border",
        "class",
        "colspan",
        "datetime",
        "height",
        "id",
        "lang",
        "open",
        "role",
        "rowspan",
        "scope",
        "title",
        "valign",
        "width",
    ]
)
# A tag with quoted attributes and nothing unusual in it; anything else goes the slow, safe way.
_ATTRIBUTE = re.compile(r"""\s+([a-zA-Z-]+)(?:=(?:"([^"<>`]*)"|'([^'<>`]*)'|([a-zA-Z0-9_.%#-]+)))?""")
_TAG = re.compile(
    r"</?([a-zA-Z][a-zA-Z0-9]*)((?:\s+[a-zA-Z-]+(?:=(?:\"[^\"<>`]*\"|'[^'<>`]*'|[a-zA-Z0-9_.%#-]+))?)*)\s*/?>"
)
# Runbooks link to one another; from the archive such a link leads nowhere.
_NEIGHBOUR = re.compile(r'<a href="[^"<>:]*\.ipynb(?:#[^"<>]*)?">')
_ANGLE = re.compile(r"<")
_SCOPED_STYLE = re.compile(r"<style\b[^>]*>.*?</style\s*>", re.DOTALL | re.IGNORECASE)
_SAFE_ADDRESS = re.compile(r"#|https?://", re.IGNORECASE)
_SAFE_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*", re.IGNORECASE)
_BAD_STYLE = re.compile(
    r"url\s*\(|expression|@import|behavio|-moz-binding|position\s*:\s*fixed|\\", re.IGNORECASE
)


def inert(html: str) -> str:
    """`html` with nothing in it that a browser would run, load or send: plain tags, links and embedded images only."""
    # pandas puts a <style scoped> into every table; the page has its own.
    text = _NEIGHBOUR.sub("<a>", _SCOPED_STYLE.sub("", html))
    return text if _plain(text) else _cleaned(text)


def _plain(text: str) -> bool:
    for angle in _ANGLE.finditer(text):
        tag = _TAG.match(text, angle.start())
        if tag is None or tag[1].lower() not in TAGS:
            return False
        if any(
            not _fine(tag[1].lower(), found[1].lower(), found[2] or found[3] or found[4] or "")
            for found in _ATTRIBUTE.finditer(tag[2])
        ):
            return False
    return True


def _fine(tag: str, name: str, value: str) -> bool:
    if name in ATTRIBUTES:
        return True
    if name == "style":
        return "&" not in value and not _BAD_STYLE.search(value)
    if name == "href":
        return tag == "a" and bool(_SAFE_ADDRESS.match(value))
    return name == "src" and tag == "img" and bool(_SAFE_IMAGE.fullmatch(value))


def _cleaned(text: str) -> str:
    import bleach  # type: ignore[import-untyped]

    def allowed(tag: str, name: str, value: str) -> bool:
        return name != "style" and _fine(tag, name, value)

    cleaned: str = bleach.clean(
        text,
        tags=TAGS,
        attributes=allowed,
        protocols={"http", "https", "data"},
        strip=False,
        strip_comments=True,
    )
    return cleaned
