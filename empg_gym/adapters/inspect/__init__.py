"""Inspect AI: recorded episodes as `.eval` logs, and tasks that Inspect's models play. Extra `inspect`.

Importing this package registers the tasks `alfworld`, `webshop` and `deepsearch` with Inspect.
"""

from empg_gym.adapters.framework import require_framework

require_framework("inspect")

from empg_gym.adapters.inspect.log import write_logs  # noqa: E402
from empg_gym.adapters.inspect.task import alfworld, deepsearch, empg, outcome, play, webshop  # noqa: E402

__all__ = ["alfworld", "deepsearch", "empg", "outcome", "play", "webshop", "write_logs"]
