"""``python -m gateway.cli`` is ``burst``."""

from gateway.cli.burst import main

main()
