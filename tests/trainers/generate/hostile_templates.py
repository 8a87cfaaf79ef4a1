"""Chat templates that don't end, with a chat of several messages."""

from __future__ import annotations

LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
HOSTILE = {
    "loops": LOOPS,
    "one long operation": "{% set n = messages | length * 30000000 %}{{ ('a b ' * n) | wordcount }}" + LOOPS,
    "a sort": "{% for i in range(99999) %}{{ range(99999) | list | sort | length }}{% endfor %}",
    "a recursion": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}" + LOOPS,
    "a power": "{% set n = messages | length * 9 %}{{ (n ** (n ** 5)) % 7 }}",
}
