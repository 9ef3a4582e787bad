"""`python -m cupylut`."""

import os
import sys
from io import TextIOWrapper

from .cli import main

if isinstance(sys.stdout, TextIOWrapper):
    sys.stdout.reconfigure(errors="replace")  # where there is no × there is a ?
try:
    try:
        status = main()
    finally:  # of --help and --version too, which exit
        print(end="", flush=True)
except KeyboardInterrupt:
    status = 130
except OSError as error:  # such as a full disk
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
    if not isinstance(error, BrokenPipeError):  # what reads the output, such as head, saw enough
        print(f"python -m cupylut: {error}", file=sys.stderr)
    status = 1
raise SystemExit(status)
