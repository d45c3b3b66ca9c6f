"""``python -m fastnn.book SCRIPT.py``: a script of the book, run on fastnn."""

import sys

from fastnn.book.scripts import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
