"""The actions as a JSON-schema tool list for OpenAI-compatible chat APIs."""

from __future__ import annotations

from typing import Any

from empg_gym.envs.deepsearch.actions import MAX_QUERIES


def tool_list(*, visit: bool, many_queries: bool) -> list[dict[str, Any]]:
    """Return the tools `search`, `visit` (where pages can be visited) and `answer`."""
    text = {"type": "string", "description": "What to look for."}
    texts = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_QUERIES, "description": "What to look for."}
    tools = [_tool("search", "Look up passages.", {"query": texts if many_queries else text}, ["query"])]
    if visit:
        tools.append(
            _tool(
                "visit",
                "Read one page.",
                {
                    "url": {"type": "string", "description": "Address of the page, as a search result gives it."},
                    "goal": {"type": "string", "description": "What to look for on the page."},
                },
                ["url"],
            )
        )
    answer = {"answer": {"type": "string", "description": "The answer itself, as short as possible."}}
    tools.append(_tool("answer", "Give the final answer and end the episode.", answer, ["answer"]))
    return tools


def _tool(name: str, description: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}
