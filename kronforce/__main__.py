"""`python -m kronforce` is the `kronforce` command."""

import sys

from kronforce.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
