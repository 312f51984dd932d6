"""`python -m simsim.sweep`, which `sweeps.command` is made of; imported by its name, it is the function `simsim.sweep`.

Listening to signals comes before all that takes long to import (`terminal.run_command`).
"""

import sys

if __name__ == "__main__":
    from simsim.terminal import run_command
    run_command("simsim.sweeps.command")

if __name__ == "simsim.sweep":  # and not a worker's, which runs this file to be like its parent
    from simsim.sweeps import sweep
    sys.modules[__name__] = sweep  # type: ignore[assignment]  # a module's place may hold anything
