"""``python -m pdscaler`` is the command ``pdscaler``."""

from pdscaler.cli.main import main

if __name__ == "__main__":
    main()
