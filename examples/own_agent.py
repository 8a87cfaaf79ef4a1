"""Your own agent: any object with `act(messages, *, tools=None)`; compared with the random agent on the same tasks.

    python examples/own_agent.py --episodes 50

Or on the command line, from the repository root:

    empg-gym eval alfworld --agent python:examples.own_agent:Explorer --show-admissible --episodes 20
"""

import argparse
import re
from typing import Any

from empg_gym import evaluate


class Explorer:
    """Tries actions that are new since it last took an object, first those that share most words with the task."""

    def act(self, messages: list[dict[str, Any]], *, tools: list[dict[str, Any]] | None = None) -> str:
        """Return the response to a conversation.

        One object serves all episodes at once, so it keeps nothing between calls: `messages` hold the whole episode.
        """
        texts = [str(message["content"]) for message in messages]
        done = [action for text in texts for action in re.findall(r"<action>(.*?)</action>", text)]
        since_take = next((age for age, action in enumerate(reversed(done)) if action.startswith("take")), len(done))
        recent = done[len(done) - since_take :]
        goal = next((match[1].split() for text in texts if (match := re.search(r"Your task is to: (.*)\.", text))), [])

        def rank(action: str) -> tuple[bool, int, bool]:
            explores = action.startswith(("go", "open"))
            words = action.partition(" from ")[0].split()
            return action in (recent if explores else done), -len(set(goal) & set(words)), not explores

        admissible = re.findall(r"^- (.+)$", texts[-1], re.MULTILINE)
        action = min(admissible, key=rank, default="look")
        return f"<think>{len(recent)} actions since I last took something.</think><action>{action}</action>"


def main() -> None:
    """Evaluate both agents and print their success rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--max-steps", type=int, default=50)
    args = parser.parse_args()
    for name, agent in (("random", "random"), ("explorer", Explorer())):
        env_kwargs = {"size": "small", "max_steps": args.max_steps}
        summary = evaluate("alfworld@valid_seen", agent, episodes=args.episodes, show_admissible=True, env_kwargs=env_kwargs)
        result = summary.results["EMPG/ALFWorld-v0"]
        print(f"{name}: success {result['success_rate']:.2f} on {result['scored']} episodes, {result['errors']} errors")


if __name__ == "__main__":
    main()
