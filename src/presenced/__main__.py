"""`python -m presenced` is the command `presenced`."""

from presenced.cli.main import main

main()
