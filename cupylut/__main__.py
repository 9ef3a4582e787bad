"""`python -m cupylut`."""

import os
import sys
from io import TextIOWrapper

from .cli import main

if isinstance(sys.stdout, TextIOWrapper):
    sys.stdout.reconfigure(errors="replace")  # where there is no × there is a ?
try:
    status = main()
    print(end="", flush=True)
except KeyboardInterrupt:
    status = 130
except BrokenPipeError:  # what reads the output, such as head, has seen enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
    status = 1
raise SystemExit(status)
