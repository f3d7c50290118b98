"""`python -m ovrcoat` is the command `ovrcoat`."""

import sys

from ovrcoat.cli import main

sys.exit(main())
