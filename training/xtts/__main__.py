from __future__ import annotations

import sys

from training.xtts.command import main

sys.exit(main(sys.argv[1:]))
