"""``python -m hephaestus.cli`` is the command ``hephaestus``."""

from hephaestus.cli import main

main()
