"""The entry point of the command `eventveil`, and `python -m eventveil`.

Processes that `multiprocessing` starts import the script of the command again, and with it this module. The program is
imported only when it runs: the stages of a pipeline need neither typer nor rich, which are 4 MB in each of them.
"""

from __future__ import annotations


def main() -> None:
    """Run the program."""
    from eventveil.cli import main as run

    run()


if __name__ == "__main__":
    main()
