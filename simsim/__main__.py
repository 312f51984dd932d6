"""`python -m simsim`: which commands there are."""

import simsim
from simsim.terminal import show

COMMANDS = {
    "run": "one run beside the theorems, and its picture",
    "sweep": "many runs over grids and seeds, as a table",
    "study": "what the theorems say of many runs, held against them",
}

if __name__ == "__main__":
    show("\n".join([simsim.__doc__.splitlines()[0], "", *(f"    python -m simsim.{name:6} {what}" for name, what in COMMANDS.items()),
                    "", "Each has --help."]))
