"""A command line of the package, ``glc.cli.draw_ranked``, from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.cli.draw_ranked import main

if __name__ == '__main__':
    main()
