"""Fetching package indexes, with a stand-in for apt that serves the fixtures."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.corpora import apt
from simmim.errors import DataError

FIXTURES = Path(__file__).parents[3] / "fixtures" / "debian"

# Serves the fixtures out of the folder that Dir::State::Lists names, as apt-get does.
APT_GET = """\
#!/bin/sh
for word; do
  case "$word" in Dir::State::Lists=*) lists="${word#*=}" ;; *.conf) cp "$word" "$HERE/seen.conf" ;; esac
done
echo "$@" >> "$HERE/seen"
if [ "$word" = update ]; then
  test -d "$lists/partial" || exit 9
  cp "$FIXTURES/Packages" "$lists/mirror.example_debian_dists_woodland_main_binary-amd64_Packages.lz4"
  cp "$FIXTURES/Translation-en" "$lists/mirror.example_debian_dists_woodland_main_i18n_Translation-en"
  cp "$FIXTURES/InRelease" "$lists/mirror.example_debian_dists_woodland_InRelease"
else
  sed "s|@LISTS@|$lists|" "$FIXTURES/indextargets"
fi
"""

InstallApt = Callable[[str], None]


@pytest.fixture
def install_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstallApt:
    """Return a function that puts a script in apt-get's place."""

    def install(script: str) -> None:
        for name, text in (("apt-get", script), ("apt-helper", '#!/bin/sh\n[ "$1" = cat-file ] && cat "$2"\n')):
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.setenv("FIXTURES", str(FIXTURES))
    monkeypatch.setattr(apt, "APT_HELPER", str(tmp_path / "apt-helper"))
    return install


def test_takes_the_indexes_of_the_release_and_nothing_else(install_apt: InstallApt) -> None:
    install_apt(APT_GET)

    packages, translation = apt.fetch_indexes("en", origin="Debian", component="main")

    assert (packages.kind, translation.kind) == ("Packages", "Translations")
    assert packages.content == (FIXTURES / "Packages").read_bytes()
    assert translation.content == (FIXTURES / "Translation-en").read_bytes()
    assert translation.sha256 == hashlib.sha256(translation.content).hexdigest()
    assert (translation.path, translation.component) == ("main/i18n/Translation-en", "main")
    for index in (packages, translation):
        assert (index.origin, index.codename, index.version) == ("Debian", "woodland", "99.1")
        assert index.date == "Sat, 03 Jan 2099 10:00:00 UTC"


def test_works_in_a_private_state_without_the_hooks_of_the_machine(install_apt: InstallApt, tmp_path: Path) -> None:
    install_apt(APT_GET)

    apt.fetch_indexes("en", origin="Debian", component="main")

    update, listing = (tmp_path / "seen").read_text().splitlines()
    assert update.split()[-1] == "update"
    assert listing.split()[-1] == "indextargets"
    for command in (update, listing):
        folders = [word.partition("=")[2] for word in command.split() if word.startswith("Dir::")]
        assert len(folders) == 2
        assert all("simmim-apt-" in folder and not Path(folder).exists() for folder in folders)
    configuration = (tmp_path / "seen.conf").read_text()
    assert "#clear APT::Update::Post-Invoke-Success;" in configuration
    assert '#clear Acquire::Languages;\nAcquire::Languages { "en"; };' in configuration


def test_says_that_apt_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DataError, match=r"apt-get: expected on the PATH.*a machine \(or container\) with apt"):
        apt.fetch_indexes("en", origin="Debian", component="main")


def test_passes_on_the_end_of_apts_message_when_the_update_fails(install_apt: InstallApt) -> None:
    install_apt('#!/bin/sh\nfor number in 1 2 3 4 5 6; do echo "E: complaint $number" >&2; done\nexit 100\n')

    with pytest.raises(DataError, match="update: expected exit status 0, got 100") as caught:
        apt.fetch_indexes("en", origin="Debian", component="main")

    assert "complaint 6" in str(caught.value)
    assert "complaint 1" not in str(caught.value)


def test_says_what_apt_said_when_it_finds_nothing(install_apt: InstallApt) -> None:
    # Without a network apt-get update warns and ends well.
    install_apt('#!/bin/sh\nfor word; do :; done\n[ "$word" != update ] || echo "W: Failed to fetch woodland" >&2\n')

    with pytest.raises(DataError, match="found neither") as caught:
        apt.fetch_indexes("en", origin="Debian", component="main")

    assert "W: Failed to fetch woodland" in str(caught.value)


def test_wants_both_kinds_of_index(install_apt: InstallApt) -> None:
    install_apt(APT_GET)

    with pytest.raises(DataError, match=r"Translation-fr indexes of Debian main, found \['Packages'\]"):
        apt.fetch_indexes("fr", origin="Debian", component="main")
