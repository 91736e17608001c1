"""Where the default folders lie: beside the scripts, or where the package is installed without
them in the working directory.
"""

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
HOME = _ROOT if (_ROOT / "train.py").is_file() else Path.cwd()
