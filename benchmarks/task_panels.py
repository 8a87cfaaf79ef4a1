"""Print the fingerprint of every task panel whose data is on this machine, as committed in `empg_gym/rollout/panels.toml`.

python -m benchmarks.task_panels
python -m benchmarks.task_panels alfworld-seen-140 --data FOLDER
"""

from __future__ import annotations

import argparse

from empg_gym.chat_settings import ChatSettings
from empg_gym.errors import EMPGGymError
from empg_gym.rollout.panels import choose_panel_tasks, panels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*panels(), []], help="panels; default: all")
    parser.add_argument("--data", help="folder of the data, for panels of released data")
    args = parser.parse_args()
    for name in args.names or panels():
        panel = panels()[name].model_copy(update={"fingerprint": None})
        given = {} if args.data is None else {"data": args.data}
        try:
            print(f'{name}: fingerprint = "{choose_panel_tasks(panel, panel.recipe(given, ChatSettings())).fingerprint}"')
        except EMPGGymError as error:
            print(f"{name}: {error}")


if __name__ == "__main__":
    main()
