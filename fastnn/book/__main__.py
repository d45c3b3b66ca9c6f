"""``python -m fastnn.book SCRIPT.py``: a script of the book, run on fastnn."""

import sys

from fastnn import command
from fastnn.book.scripts import main


def program() -> int:
    """Run the script as Python would, but with the streams that it lacks."""
    command.mended_for_good()
    code = main(sys.argv[1:])

    def written() -> int:
        command.say("", end="")
        return code

    return command.run("fastnn.book", written, is_program=True)


if __name__ == "__main__":
    sys.exit(program())
