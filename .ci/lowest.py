"""Prints the lowest versions that setup.cfg allows of what simsim needs to run, as constraints of pip; --python: of Python."""

import configparser
import sys

settings = configparser.ConfigParser()
settings.read("setup.cfg")
options = settings["options"]
if "--python" in sys.argv:
    print(options["python_requires"].removeprefix(">="))
else:
    print(*(line.replace(">=", "==") for line in options["install_requires"].split()), sep="\n")
