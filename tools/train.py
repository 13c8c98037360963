"""Train a model, from a checkout: ``python tools/train.py CONFIG [options]``. Installed, it is ``glc-train``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from glc.cli.train import main

if __name__ == '__main__':
    main()
