"""`python -m biolm` is `biolm`."""

from biolm.cli import main

if __name__ == "__main__":
    main()
