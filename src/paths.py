"""Where the scripts lie: the default folders are beside them, whatever the working directory."""

from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
