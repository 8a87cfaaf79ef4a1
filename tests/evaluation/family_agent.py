"""An agent process with a family: a child, and a grandchild that has left its process group. Plays `tests.toy`, slowly."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    seconds, pids = float(sys.argv[1]), Path(sys.argv[2])
    child = subprocess.Popen(["sleep", "600"])
    stray = subprocess.Popen(["sleep", "600"], start_new_session=True)
    with pids.open("a") as file:
        file.write(f"{os.getpid()} {child.pid} {stray.pid}\n")
    for line in sys.stdin:
        request = json.loads(line)
        found = re.search(r"The note says (\d+)", request["messages"][-1]["content"])
        time.sleep(seconds)
        print(json.dumps({"text": f"<action>open door {found[1] if found else 1}</action>"}), flush=True)


main()
