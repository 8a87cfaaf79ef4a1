"""An agent process for the tests: plays `tests.toy` over JSON lines, well or in the way that the first argument says.

Imports nothing of the project: this is what a user's own program looks like.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    mode = sys.argv[1] if len(sys.argv) > 1 else "good"
    pids = os.environ.get("AGENT_PIDS")
    if pids:
        with Path(pids).open("a") as file:
            file.write(f"{os.getpid()}\n")
            if mode == "family":
                file.write(f"{subprocess.Popen(['sleep', '600']).pid}\n")
    held = []
    for number, line in enumerate(sys.stdin):
        request = json.loads(line)
        if "end" in request:
            continue
        rooms = [re.search(r"The note says (\d+)", message["content"]) for message in request["messages"]]
        door = next((match.group(1) for match in reversed(rooms) if match), "1")
        text = f"<think>note</think><action>open door {door}</action>"
        reply = {"id": request["id"], "text": text}
        if mode == "tools":
            reply = {"id": request["id"], "text": "note", "tool_calls": [{"name": "act", "arguments": {"action": f"open door {door}"}}]}
        elif mode == "no-id":
            reply = {"text": text}
        elif mode == "wrong-id":
            reply["id"] += 100
        elif mode == "odd-id":
            reply["id"] = [reply["id"]]
        elif mode == "stop" and number == 1:
            reply = {"id": request["id"], "stop": True}
        elif mode == "error":
            reply = {"id": request["id"], "error": "out of ideas"}
        elif mode == "silent":
            time.sleep(600)
        elif mode == "dies" and number == 1:
            sys.stderr.write("Traceback: no idea what to do\n")
            sys.stderr.flush()
            os._exit(3)
        elif mode == "garbage":
            print("hello, this is a log line", flush=True)
            continue
        elif mode == "nested":
            print("[" * 100_000, flush=True)
            continue
        elif mode == "list":
            reply = [1]
        elif mode == "empty":
            reply = {"id": request["id"]}
        elif mode == "stubborn":
            import signal

            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if mode == "reversed":
            held.append(reply)
            if len(held) < 2:
                continue
            for one in reversed(held):
                print(json.dumps(one), flush=True)
            held.clear()
            continue
        print(json.dumps(reply), flush=True)
        if mode == "chatty":
            print("all done, waiting for the next request", flush=True)
            time.sleep(600)
    while mode == "stubborn":
        time.sleep(1)


main()
