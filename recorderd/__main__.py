"""`python -m recorderd` is the command `recorderd`."""

import sys

from recorderd.cli.daemon_cli import main

sys.exit(main())
