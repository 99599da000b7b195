"""Fetch package indexes with the machine's own apt client, in a private state that leaves the system's lists alone."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Deb822

from simmim.errors import DataError

__all__ = ["AptIndex", "fetch_indexes", "private_state", "read_index", "run_apt", "wanted_target"]

# Where apt installs its helper; apt-get(8) asks to read index files through `cat-file`, as they may be compressed.
APT_HELPER = "/usr/lib/apt/apt-helper"

# Read after the machine's own configuration: no hook of the machine runs, and the language asked for is added below.
APT_CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::Languages;
"""


@dataclass(frozen=True)
class AptIndex:
    """One index file of a package archive.

    Attributes:
        kind: `Packages` or `Translations`.
        origin: Who publishes the archive, such as `Debian`.
        codename: The release, such as `bookworm` or `bookworm-updates`.
        version: The version of the release, such as `12.5`; empty where the archive names none.
        date: The date that the Release file carries.
        component: The component, such as `main`.
        path: The file's path inside the release, as its Release file lists it.
        content: The uncompressed file.
    """

    kind: str
    origin: str
    codename: str
    version: str
    date: str
    component: str
    path: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Hash the uncompressed file: the value that the archive's Release file gives for `path`."""
        return hashlib.sha256(self.content).hexdigest()


def fetch_indexes(language: str, *, origin: str, component: str) -> list[AptIndex]:
    """Download the Packages and Translation indexes of this machine's apt sources.

    Needs neither root nor anything in the system's own lists. Pockets beside a release (updates, security,
    backports) are left out, as they change from day to day.

    Args:
        language: The language of the Translation indexes, such as `en`.
        origin: Take the archives that name this origin, such as `Debian`.
        component: Take this component, such as `main`.

    Returns:
        The indexes, at least one of either kind, in the order of apt's sources.

    Raises:
        DataError: There is no apt-get here, apt fails, or its sources hold no such index.
    """
    if shutil.which("apt-get") is None:
        raise DataError(
            "apt-get: expected on the PATH, found none. This corpus comes from Debian's package lists: build it on "
            "a machine (or container) with apt, then copy its cache folder here."
        )
    with tempfile.TemporaryDirectory(prefix="simmim-apt-") as name:
        folder = Path(name)
        # apt drops its rights when it downloads as root, so the folder has to be open to its own user.
        folder.chmod(0o755)
        state = private_state(folder, language)
        complaints = run_apt(["apt-get", *state, "update"]).stderr
        listing = run_apt(["apt-get", *state, "indextargets"]).stdout
        targets = [
            target for target in Deb822.iter_paragraphs(listing) if wanted_target(target, language, origin, component)
        ]
        indexes = [read_index(target) for target in targets]
    kinds = {index.kind for index in indexes}
    if kinds != {"Packages", "Translations"}:
        raise DataError(
            f"apt sources: expected the Packages and Translation-{language} indexes of {origin} {component}, found "
            f"{sorted(kinds) or 'neither'}. Add such a release to /etc/apt/sources.list, or check the network. "
            f"apt-get update said: {_tail(complaints) or 'nothing'}"
        )
    return indexes


def private_state(folder: Path, language: str) -> list[str]:
    """Prepare `folder` as apt's state and return the options that make apt use it."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    config = folder / "apt.conf"
    config.write_text(f'{APT_CONFIG}Acquire::Languages {{ "{language}"; }};\n', encoding="utf-8")
    config.chmod(0o644)
    return ["-c", str(config), "-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"]


def run_apt(command: Sequence[str], folder: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run an apt command in a folder and raise DataError with the end of its message where it fails."""
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, cwd=folder)
    if done.returncode != 0:
        raise DataError(
            f"{Path(command[0]).name} ... {command[-1]}: expected exit status 0, got {done.returncode}. Check the "
            f"network and /etc/apt/sources.list. It said: {_tail(done.stderr) or 'nothing'}"
        )
    return done


def _tail(message: bytes, lines: int = 5) -> str:
    """Return the last lines of what apt printed."""
    return "\n".join(message.decode("utf-8", errors="replace").strip().splitlines()[-lines:])


def wanted_target(target: Mapping[str, str], language: str, origin: str, component: str) -> bool:
    """Tell whether an index target is a Packages or Translation file of the releases asked for."""
    if target.get("Origin") != origin or target.get("Component") != component or "-" in target.get("Codename", ""):
        return False
    if target.get("Created-By") == "Translations":
        return target.get("Language") == language
    return target.get("Created-By") == "Packages"


def read_index(target: Mapping[str, str]) -> AptIndex:
    """Read the index file that an index target names, and the date of its release."""
    # apt names a list after its address, with "/" as "_"; the Release file of the same archive lies beside it.
    prefix = re.sub(re.escape(target["MetaKey"].replace("/", "_")) + r"(\.\w+)?$", "", target["Filename"])
    release = next(path for path in (Path(f"{prefix}InRelease"), Path(f"{prefix}Release")) if path.exists())
    date = re.search(r"^Date: *(.+)$", release.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return AptIndex(
        kind=target["Created-By"],
        origin=target["Origin"],
        codename=target["Codename"],
        version=target.get("Version", ""),
        date=date.group(1) if date else "",
        component=target["Component"],
        path=target["MetaKey"],
        content=run_apt([APT_HELPER, "cat-file", target["Filename"]]).stdout,
    )
