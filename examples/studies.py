"""Every study in small: claims with intervals and verdicts, from a few hundred runs. Takes some minutes on two cores.

`python examples/studies.py NAME ...` takes only some of them. Tables and figures go to runs/NAME-quick; called again,
nothing is computed twice. `python -m simsim.study NAME` is the whole study.
"""

import sys

from simsim import studies

if __name__ == "__main__":  # worker processes import this file
    for name in sys.argv[1:] or studies.STUDIES:
        checks = studies.perform(studies.STUDIES[name], f"runs/{name}-quick", quick=True)
        print(f"{name}: {studies.STUDIES[name].question}", studies.regions.report(checks), sep="\n", end="\n\n")
