"""`python -m vitrine_client.cli`, where the command itself is not on the PATH."""

import sys

from vitrine_client.cli import main

if __name__ == "__main__":
    sys.exit(main())
