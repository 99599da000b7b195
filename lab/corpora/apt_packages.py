"""Fetches Debian packages with the machine's apt client and reads the files in them, without installing anything."""

import hashlib
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from debian.copyright import Copyright, MachineReadableFormatError, NotMachineReadableError
from debian.deb822 import Deb822
from debian.debfile import DebFile

from lab.corpora.apt import private_state, read_index, run_apt, wanted_target
from simmim.errors import DataError

__all__ = ["AptPackage", "fetched_packages", "read_files"]

logger = logging.getLogger(__name__)
logging.getLogger("debian.copyright").setLevel(logging.ERROR)  # warns of each file's old format address


@dataclass(frozen=True)
class AptPackage:
    """One fetched package.

    Attributes:
        name: The package's name.
        version: Its version.
        source: The source package that it was built from.
        sha256: The hash of its file.
        licences: The short names in its copyright file; empty where that is not machine-readable.
        path: Its file, for as long as `fetched_packages` is open.
    """

    name: str
    version: str
    source: str
    sha256: str
    licences: tuple[str, ...]
    path: Path

    def entry(self) -> dict[str, object]:
        """Return what a manifest says about the package."""
        return {
            "name": self.name,
            "version": self.version,
            "source": self.source,
            "sha256": self.sha256,
            "licences": list(self.licences) or [f"see /usr/share/doc/{self.name}/copyright in the package"],
        }


@contextmanager
def fetched_packages(
    names: Sequence[str], *, origin: str = "Debian", component: str = "main"
) -> Iterator[list[AptPackage]]:
    """Download packages of this machine's release into a folder that goes when the block ends.

    Works in a private state of apt's: the system's lists and sources stay as they are, and a component that they lack
    is asked for in the same archive.

    Args:
        names: The packages. One that the release does not have is left out with a warning.
        origin: Take the archives that name this origin.
        component: The component that the packages are in.

    Yields:
        The packages found, in the order of `names`.

    Raises:
        DataError: apt fails, or has none of the packages.
    """
    with tempfile.TemporaryDirectory(prefix="simmim-apt-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt drops its rights when it downloads as root
        state = private_state(folder, "none")
        known = _update(state, folder, origin, component)
        found = [package for package in names if package in known]
        missing = [package for package in names if package not in known]
        if not found:
            raise DataError(
                f"apt sources: expected the packages {', '.join(names[:5])} of {origin} {component}, found none of "
                "them. Build this corpus on Debian, or check /etc/apt/sources.list and the network."
            )
        if missing:
            logger.warning("%d packages are not in this release: %s", len(missing), ", ".join(missing))
        logger.info("downloading %d packages", len(found))
        downloads = folder / "downloads"
        downloads.mkdir()
        run_apt(["apt-get", *state, "download", *found], downloads)
        packages = {package.name: package for package in map(_describe, downloads.glob("*.deb"))}
        yield [packages[package] for package in found]


def read_files(package: AptPackage, pattern: str) -> Iterator[tuple[str, bytes | None]]:
    """Read files of a package.

    Args:
        package: A fetched package.
        pattern: A regular expression for the whole path, such as `usr/share/man/man1/.*`.

    Yields:
        Path and content of each file that fits; a link has None for content.
    """
    with DebFile(package.path) as deb:
        archive = deb.data.tgz()
        for member in archive:
            path = member.name.removeprefix("./")
            if not re.fullmatch(pattern, path):
                continue
            if member.isfile():
                stream = archive.extractfile(member)
                assert stream is not None
                yield path, stream.read()
            elif member.issym() or member.islnk():
                yield path, None


def _update(state: list[str], folder: Path, origin: str, component: str) -> set[str]:
    """Fetch the lists of a component, make `state` use no other, and return the names of its packages."""
    logger.info("reading the package lists")
    run_apt(["apt-get", *state, "update"])
    listing = run_apt(["apt-get", *state, "indextargets"]).stdout
    archives = {
        (target["Repo-URI"], target["Release"])
        for target in Deb822.iter_paragraphs(listing)
        if wanted_target(target, "none", origin, target.get("Component", ""))
    }
    sources = folder / "sources.list"
    sources.write_text("".join(f"deb {uri} {release} {component}\n" for uri, release in sorted(archives)))
    state += ["-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=/dev/null"]
    run_apt(["apt-get", *state, "update"])
    listing = run_apt(["apt-get", *state, "indextargets"]).stdout
    return {
        name.decode()
        for target in Deb822.iter_paragraphs(listing)
        if wanted_target(target, "none", origin, component)
        for name in re.findall(rb"^Package: (\S+)", read_index(target).content, flags=re.MULTILINE)
    }


def _describe(path: Path) -> AptPackage:
    """Read a package's control and copyright files."""
    with DebFile(path) as deb:
        control = deb.debcontrol()
        name = control["Package"]
    package = AptPackage(
        name=name,
        version=control["Version"],
        source=control.get("Source", name).split()[0],
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        licences=(),
        path=path,
    )
    for _, content in read_files(package, re.escape(f"usr/share/doc/{name}/copyright")):
        if content is not None:
            package = AptPackage(**{**package.__dict__, "licences": _licences(content)})
    return package


def _licences(content: bytes) -> tuple[str, ...]:
    """Return the short names of the licences in a copyright file that can be read by machine."""
    try:
        parsed = Copyright(content.decode("utf-8").splitlines(), strict=False)
        found = [getattr(files.license, "synopsis", None) for files in parsed.all_files_paragraphs()]
    except (NotMachineReadableError, MachineReadableFormatError, ValueError):
        return ()
    return tuple(dict.fromkeys(name for name in found if name))
