"""``python -m unscatter.cli``."""

from unscatter.cli.app import main

if __name__ == "__main__":
    main()
