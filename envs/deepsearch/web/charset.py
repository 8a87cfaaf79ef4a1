"""Decodes the bytes of a page by the charset that the page names.

Rules:
    - Only the charsets of the web are accepted. Python's other codecs are not charsets, or take time quadratic in the length
      (punycode, idna).
    - A missing name and any other name mean UTF-8. Undecodable bytes become U+FFFD.
"""

from __future__ import annotations

import codecs
import re

_ALLOWED = re.compile(
    r"ascii|utf-8(-sig)?|utf-(16|32)(-[bl]e)?|iso8859-\d+|cp125\d|cp932|cp949|gb2312|gbk|gb18030|big5(hkscs)?|shift_jis|euc_(jp|kr)|koi8-[rtu]"
)
"""Python's own names (`codecs.lookup(label).name`) for the labels latin-1, windows-125x, euc-jp, …"""


def decode(body: bytes, label: str) -> str:
    """Return the text of `body`, whose page names the charset `label` ("" for none)."""
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        name = ""
    return body.decode(name if _ALLOWED.fullmatch(name) else "utf-8", "replace")
