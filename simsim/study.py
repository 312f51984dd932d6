"""`python -m simsim.study`, which `studies.command` is made of.

Listening to signals comes before all that takes long to import (`terminal.run_command`).
"""

if __name__ == "__main__":
    from simsim.terminal import run_command
    run_command("simsim.studies.command")
