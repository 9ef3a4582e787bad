"""`python -m cupylut`."""

from .cli import main

raise SystemExit(main())
