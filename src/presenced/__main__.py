"""`python -m presenced` is the command `presenced`."""

from presenced.cli import main

main()
