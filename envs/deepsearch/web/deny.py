"""Sites that are kept out of live search and visits: copies of benchmark questions and answers.

A pattern is a host (with all its subdomains), or a host and the beginning of a path: "example.org" or "example.org/datasets". Case does
not matter, percent-encoding is undone first.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

BENCHMARK_MIRRORS: tuple[str, ...] = (
    "huggingface.co/datasets",
    "hf.co/datasets",
    "datasets-server.huggingface.co",
    "hf-mirror.com",
    "modelscope.cn/datasets",
    "kaggle.com/datasets",
    "raw.githubusercontent.com",
    "paperswithcode.com/dataset",
)
"""Where the questions and answers of public benchmarks lie in the open."""


def denied(url: str, patterns: tuple[str, ...]) -> bool:
    """Whether `url` is of a site that one of `patterns` names; what is no address is not."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".").lower()
    except ValueError:
        return False
    path = _plain(parts.path)
    for pattern in patterns:
        site, slash, beginning = pattern.lower().partition("/")
        if (host == site or host.endswith("." + site)) and (not slash or (path + "/").startswith(f"/{beginning.strip('/')}/")):
            return True
    return False


def _plain(path: str) -> str:
    """Undo what would let one path be written in several ways: encoding, case, empty and dot segments."""
    kept: list[str] = []
    for segment in unquote(path).lower().split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept)
