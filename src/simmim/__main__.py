"""Runs the command line as `python -m simmim`."""

from simmim.cli.main import app

__all__: list[str] = []

if __name__ == "__main__":
    app(prog_name="simmim")
