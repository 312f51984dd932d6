"""`python -m simsim.sweep`, which `sweeps.command` is made of; imported by its name, it is the function `simsim.sweep`.

Listening to signals comes before all that takes long to import.
"""

import sys

from simsim.interrupts import Interrupts

if __name__ == "__main__":
    from simsim.terminal import INTERRUPTED, say
    with Interrupts() as interrupts:
        try:
            from simsim.sweeps import command
            status = command.main(sys.argv[1:], interrupts)
        except KeyboardInterrupt:
            say("interrupted")
            status = INTERRUPTED
    sys.exit(status)

if __name__ == "simsim.sweep":  # and not a worker's, which runs this file to be like its parent
    from simsim.sweeps import sweep
    sys.modules[__name__] = sweep
