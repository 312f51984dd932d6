"""`python -m simsim.study`, which `studies.command` is made of.

Listening to signals comes before all that takes long to import.
"""

import sys

from simsim.interrupts import Interrupts

if __name__ == "__main__":
    with Interrupts() as interrupts:
        from simsim.studies import command
        sys.exit(command.main(sys.argv[1:], interrupts))
