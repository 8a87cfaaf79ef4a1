"""Sites excluded from live search and visits: copies of benchmark questions and answers.

Rules:
    - A pattern is a host (with all its subdomains), or a host and the beginning of a path: "example.org" or "example.org/datasets".
    - An address that contains a denied one in its path or query is denied too: readers, archives and translators of pages are addressed
      in this way, with or without the inner scheme.
    - Case, percent-encoding (up to three levels), empty segments and dot segments are ignored.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote, urlsplit

_REPOSITORIES = (
    "hotpotqa/hotpot",
    "alab-nii/2wikimultihop",
    "stonybrooknlp/musique",
    "ofirpress/self-ask",
    "alextmallen/adaptive-retrieval",
    "mandarjoshi90/triviaqa",
    "google-research-datasets/natural-questions",
    "alibaba-nlp/webwalker",
    "alibaba-nlp/webagent",
    "alibaba-nlp/deepresearch",
    "centerforaisafety/hle",
    "xbench-ai/xbench-evals",
    "openai/simple-evals",
    "dongguanting/arpo",
    "ruc-nlpir/arpo",
    "ruc-nlpir/flashrag",
    "petergriffinjin/search-r1",
    "inclusionai/asearcher",
)
"""GitHub repositories that contain questions with their answers."""

BENCHMARK_MIRRORS: tuple[str, ...] = (
    "huggingface.co/datasets",
    "huggingface.co/api/datasets",
    "hf.co/datasets",
    "hf.co/api/datasets",
    "datasets-server.huggingface.co",
    "hf-mirror.com",
    "modelscope.cn/datasets",
    "kaggle.com/datasets",
    "raw.githubusercontent.com",
    "paperswithcode.com/dataset",
    *(f"{host}/{name}" for name in _REPOSITORIES for host in ("github.com", "api.github.com/repos", "cdn.jsdelivr.net/gh")),
)
"""Sites that publish the questions and answers of public benchmarks."""


def denied(url: str, patterns: tuple[str, ...]) -> bool:
    """Return whether `url` matches one of `patterns` or contains an address that does; malformed addresses don't match."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    named = _matcher(patterns)
    return any(named.search(host + form) for form in _forms(parts.path)) or any(map(named.search, _forms("?" + parts.query)))


@lru_cache(maxsize=16)
def _matcher(patterns: tuple[str, ...]) -> re.Pattern[str]:
    sites = []
    for pattern in patterns:
        site, _, beginning = pattern.lower().partition("/")
        path = beginning.strip("/")
        sites.append(re.escape(site) + r"\.?(?::\d*)?" + (re.escape("/" + path) if path else ""))
    return re.compile(rf"(?<![a-z0-9_-])(?:{'|'.join(sites)})(?![a-z0-9_-]|\.[a-z0-9])" if sites else r"(?!)")


def _forms(text: str) -> tuple[str, str]:
    """Return a path or a query decoded, once with ".." kept and once resolved: within a query it may have no meaning."""
    for _ in range(3):
        text = unquote(text)
    segments = [segment for segment in text.lower().replace("\\", "/").split("/") if segment not in ("", ".")]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        else:
            kept.append(segment)
    return "/" + "/".join(segments), "/" + "/".join(kept)
