"""From a checkout: ``python tools/deployment/export.py``; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.cli.export import main

if __name__ == '__main__':
    sys.exit(main())
