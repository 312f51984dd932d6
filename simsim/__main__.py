"""`python -m simsim`: which commands there are."""

import simsim
from simsim.terminal import show

COMMANDS = {
    "run": "one run beside the theorems, and its picture",
    "sweep": "many runs over grids and seeds, as a table",
    "explore": "a window with sliders for one flow",
    "study": "what the theorems say of many runs, held against them",
}

if __name__ == "__main__":
    commands = [f"    python -m simsim.{name:7} {what}" for name, what in COMMANDS.items()]
    show("\n".join([simsim.__doc__.splitlines()[0], "", *commands, "", "Each has --help."]))
