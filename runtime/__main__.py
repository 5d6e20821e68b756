"""``python -m runtime``: the command ``durable``."""

from runtime.cli import main

if __name__ == "__main__":
    main()
