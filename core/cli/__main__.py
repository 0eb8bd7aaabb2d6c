"""`python -m eventveil.cli`: run the program without its installed script."""

from eventveil.cli import main

if __name__ == "__main__":
    main()
