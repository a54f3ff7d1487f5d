"""``python -m sardonyx_hub`` is the ``sardonyx`` command."""

from sardonyx_hub.cli import main

if __name__ == "__main__":
    main()
