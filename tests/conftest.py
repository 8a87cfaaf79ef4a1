"""What every test run needs, however it was started."""

from __future__ import annotations

import atexit
import gc
import signal

from hypothesis import settings

# A job in the background of a shell starts with Ctrl-C ignored, and its children inherit that: tests that interrupt a command would hang.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The same for the end of the terminal, under nohup.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# As in empg_gym.cli: imports create many objects, which Python would search for cycles again and again.
gc.set_threshold(50_000, 20, 50)
atexit.register(gc.freeze)

# Examples run beside other tests on few cores: how long one takes says nothing.
settings.register_profile("empg-gym", deadline=None)
settings.load_profile("empg-gym")
