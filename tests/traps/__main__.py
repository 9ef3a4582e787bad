"""python -m traps LIBRARY: spring its traps one after the other, and say when each is done."""

import sys
import traceback

from . import traps_of

for name, spring in traps_of(sys.argv[1]).items():
    print(name, end="", flush=True)
    try:
        spring()
    except Exception:
        traceback.print_exc()
        print(": failed", flush=True)
    else:
        print(": done", flush=True)
