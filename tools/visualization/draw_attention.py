"""Draw where a network looks, from a checkout: ``python tools/visualization/draw_attention.py CONFIG [CHECKPOINT]``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.cli.draw_attention import main

if __name__ == '__main__':
    main()
