"""Makes the modules of tools/nano importable, which are scripts next to each other and in no package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[4] / "tools" / "nano"))
