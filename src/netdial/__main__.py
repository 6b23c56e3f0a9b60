"""Makes ``python -m netdial`` the command ``netdial``."""

from netdial.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
