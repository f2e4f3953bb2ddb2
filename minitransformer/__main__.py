"""`python -m minitransformer` is the command `minitransformer`."""

from minitransformer.cli import main

main()
