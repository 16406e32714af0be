"""Entry point of `python -m presenced`, which is the same as the command `presenced`."""

from presenced.cli.main import main

main()
