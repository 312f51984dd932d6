"""`python -m simsim.sweep`, which `sweeps.command` is made of; imported by its name, it is the function `simsim.sweep`.

Listening to signals comes before all that takes long to import.
"""

import sys

from simsim.interrupts import Interrupts

if __name__ == "__main__":
    with Interrupts() as interrupts:
        from simsim.sweeps import command
        sys.exit(command.main(sys.argv[1:], interrupts))

if __name__ == "simsim.sweep":  # and not a worker's, which runs this file to be like its parent
    from simsim.sweeps import sweep
    sys.modules[__name__] = sweep
