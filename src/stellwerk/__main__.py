"""`python -m stellwerk`: the command line. Everything is in `cli.main`."""

import sys

from stellwerk.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
