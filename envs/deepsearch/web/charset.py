"""Bytes of a page to text, by the charset that the page names.

Rules:
    - Only the charsets of the web are believed. Python's other codecs are no charsets or cost time that grows with the square of the
      length (punycode, idna).
    - Any other name, and none, means UTF-8. Bytes that can't be read become U+FFFD.
"""

from __future__ import annotations

import codecs
import re

_ALLOWED = re.compile(
    r"ascii|utf-8(-sig)?|utf-(16|32)(-[bl]e)?|iso8859-\d+|cp125\d|cp932|cp949|gb2312|gbk|gb18030|big5(hkscs)?|shift_jis|euc_(jp|kr)|koi8-[rtu]"
)
"""Python's own names (`codecs.lookup(label).name`) of what the labels latin-1, windows-125x, euc-jp, … stand for."""


def decode(body: bytes, label: str) -> str:
    """Return the text of `body`, which names its charset `label` ("" where it names none)."""
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        name = ""
    return body.decode(name if _ALLOWED.fullmatch(name) else "utf-8", "replace")
