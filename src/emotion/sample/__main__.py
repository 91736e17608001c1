"""``python -m emotion.sample --out DIR``: see ``emotion.sample.corpus``."""

import sys

from emotion.sample.corpus import main

if __name__ == "__main__":
    sys.exit(main())
