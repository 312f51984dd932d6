"""`python -m simsim.study`, which `studies.command` is made of.

Listening to signals comes before all that takes long to import.
"""

import sys

from simsim.interrupts import Interrupts

if __name__ == "__main__":
    from simsim.terminal import INTERRUPTED, say
    with Interrupts() as interrupts:
        try:
            from simsim.studies import command
            status = command.main(sys.argv[1:], interrupts)
        except KeyboardInterrupt:
            say("interrupted")
            status = INTERRUPTED
    sys.exit(status)
