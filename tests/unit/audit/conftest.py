"""The auditors stand beside the package, not in it: make them importable whatever pytest was started with."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
