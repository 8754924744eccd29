"""``python -m agents.cli``: the command line where the script ``driftline`` is not on the path."""

from agents.cli import main

main()
