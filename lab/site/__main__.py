"""``python -m lab.site KATEX``: build the site; KATEX is the unpacked npm package, which `make docs` gets."""

import sys
from pathlib import Path

from lab.site.build import main

sys.exit(main(Path(sys.argv[1])))
