"""``python -m localplane tools|up|demo``."""

from localplane.commands import main

main()
