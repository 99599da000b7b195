"""Reads documentation in several languages from Debian packages: the blocks of each page in each language."""

from __future__ import annotations

import gzip
import logging
import re
import tempfile
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.corpora.apt_packages import AptPackage, read_files
from simmim.tasks.translation.formats.html import html_blocks
from simmim.tasks.translation.formats.troff import open_troff
from simmim.tasks.translation.marks import Block

__all__ = ["SOURCES", "Source", "catalogue_pairs", "page_blocks"]

logger = logging.getLogger(__name__)

_MALLARD = frozenset(
    "page info link revision credit name email years license desc title p section list item steps terms tree table tr "
    "td th thead tbody tfoot note example synopsis figure quote comment links subtitle include".split()
)


def _html(text: str) -> list[Block]:
    body = text.find('<div id="DisplayArea"')  # LibreOffice: what is before it is the frame around every page
    return [block for block in html_blocks(text) if block.start > body]


def _mallard(text: str) -> list[Block]:
    return list(
        html_blocks(re.sub(r"<(mal:)?credit\b.*?</(mal:)?credit>", "", text, flags=re.S), xml=True, blocks=_MALLARD)
    )


def _troff(text: str) -> list[Block]:
    return list(open_troff(text, str.encode).blocks)


@dataclass(frozen=True)
class Source:
    """Where pages are that exist in several languages.

    Attributes:
        name: what it is called in the manifest.
        licence: under which its pages are.
        packages: for each language (`en`, `fr`, `es`, `zh`) the packages, and the pattern of their pages, whose group
            `page` names the page in every language.
        read: finds the blocks of a page.
        strict: as of `lab.translation.align.aligned`.
    """

    name: str
    licence: str
    packages: Mapping[str, tuple[Sequence[str], str]]
    read: Callable[[str], list[Block]] = _html
    strict: bool = False


def _each(package: str, pattern: str, languages: Mapping[str, tuple[str, str]]) -> dict[str, tuple[Sequence[str], str]]:
    """Fill the endings of package names and the names of folders into a source whose packages are alike."""
    return {
        language: ((package + ending,), pattern.replace("LANG", folder))
        for language, (ending, folder) in languages.items()
    }


# English pages that manpages-fr and manpages-es translate
_MANUALS = (
    "manpages manpages-dev coreutils util-linux bsdutils mount procps bash tar gzip grep sed findutils diffutils "
    "binutils-common e2fsprogs passwd login systemd udev gawk less file man-db cron at bind9-dnsutils rsync wget "
    "iproute2 iputils-ping net-tools psmisc xz-utils bzip2 zip unzip nano vim-common groff-base gnupg gpg patch "
    "debianutils hostname kmod lsof parted fdisk dosfstools mdadm lvm2 cpio ed bc dc time screen sharutils sudo "
    "dash mailutils procmail quota rcs texinfo uuid-runtime xxd bsdextrautils bsdmainutils ncurses-bin ncurses-doc "
    "libc-bin cups-client ppp pppoe reiserfsprogs systemd-container systemd-resolved systemd-timesyncd systemd-boot "
    "manpages-posix grub-common grub2-common btrfs-progs initscripts sysvinit-core lsb-release acct jfsutils "
    "inetutils-telnet ftp telnet trueprint zstd isc-dhcp-client nfs-common nfs-kernel-server openssh-client "
    "openssh-server apt dpkg dpkg-dev debhelper devscripts cdebconf debconf adduser"
).split()
_PAGES = r"usr/share/man/{}man[1-8]/(?P<page>[^/]+?)(?:\.gz)?"

SOURCES = (
    Source(
        "libreoffice-help",
        "MPL-2.0",
        _each(
            "libreoffice-help-",
            r"usr/share/libreoffice/help/LANG/text/(?P<page>.*)\.html",
            {"en": ("en-us", "en-US"), "fr": ("fr", "fr"), "es": ("es", "es"), "zh": ("zh-cn", "zh-CN")},
        ),
    ),
    Source(
        "gnome-user-docs",
        "CC-BY-SA-3.0",
        _each(
            "gnome-user-docs",
            r"usr/share/help/LANG/(?P<page>.*)\.page",
            {"en": ("", "C"), "fr": ("", "fr"), "es": ("", "es"), "zh": ("", "zh_CN")},
        ),
        _mallard,
    ),
    Source(
        "gimp-help",
        "GFDL-1.2+ without invariant sections",
        _each(
            "gimp-help-",
            r"usr/share/gimp/2.0/help/LANG/(?P<page>.*)\.html",
            {"en": ("en", "en"), "fr": ("fr", "fr"), "es": ("es", "es"), "zh": ("zh-cn", "zh_CN")},
        ),
    ),
    Source(
        "debian-handbook",
        "GPL-2+ or CC-BY-SA-3.0",
        _each(
            "debian-handbook",
            r"usr/share/doc/debian-handbook/html/LANG/(?P<page>.*)\.html",
            {"en": ("", "en-US"), "fr": ("", "fr-FR"), "es": ("", "es-ES"), "zh": ("", "zh-CN")},
        ),
    ),
    Source(
        "debian-reference",
        "GPL-2+",
        _each(
            "debian-reference-",
            r"usr/share/debian-reference/(?P<page>.*)\.LANG\.html",
            {"en": ("en", "en"), "fr": ("fr", "fr"), "es": ("es", "es"), "zh": ("zh-cn", "zh-cn")},
        ),
    ),
    Source(
        "debian-faq",
        "GPL-2+",
        {
            "en": (("debian-faq",), r"usr/share/doc/debian/FAQ/(?P<page>[^/]*)\.en\.html"),
            "fr": (("debian-faq-fr",), r"usr/share/doc/debian/FAQ/fr/(?P<page>[^/]*)\.fr\.html"),
            "zh": (("debian-faq-zh-cn",), r"usr/share/doc/debian/FAQ/zh-cn/(?P<page>[^/]*)\.zh-cn\.html"),
        },
    ),
    Source(
        "developers-reference",
        "GPL-2+",
        {
            "en": (("developers-reference",), r"usr/share/developers-reference/(?P<page>[^/]*)\.html"),
            "fr": (("developers-reference-fr",), r"usr/share/developers-reference/fr/(?P<page>[^/]*)\.html"),
        },
    ),
    Source(
        "manual-pages",
        "each page under the free licence of its own package",
        {
            "en": (_MANUALS, _PAGES.format("")),
            "fr": (("manpages-fr", "manpages-fr-dev"), _PAGES.format("fr/")),
            "es": (("manpages-es", "manpages-es-dev"), _PAGES.format("es/")),
        },
        _troff,
        strict=True,
    ),
)
CATALOGUES = {"fr": "libreoffice-l10n-fr", "es": "libreoffice-l10n-es", "zh": "libreoffice-l10n-zh-cn"}


def page_blocks(
    source: Source, language: str, packages: Mapping[str, AptPackage], wanted: Container[str] | None = None
) -> dict[str, list[Block]]:
    """Read the pages of a source in one language.

    Args:
        source: the source.
        language: one of its languages.
        packages: what was fetched, by name.
        wanted: the names of the pages to read; None reads all.

    Returns:
        The blocks of each page.
    """
    names, pattern = source.packages[language]
    pages: dict[str, list[Block]] = {}
    for name in names:
        if name not in packages:
            continue
        for path, content in read_files(packages[name], pattern):
            found = re.fullmatch(pattern, path)
            assert found is not None
            if content is None or found["page"] in pages or (wanted is not None and found["page"] not in wanted):
                continue
            text = (gzip.decompress(content) if path.endswith(".gz") else content).decode("utf-8", errors="replace")
            pages[found["page"]] = source.read(text)
    return pages


def catalogue_pairs(package: AptPackage) -> Iterator[tuple[str, str, str]]:
    """Yield the message catalogue, the English message and its translation of each entry of a package's catalogues."""
    import polib

    for path, content in read_files(package, r".*/LC_MESSAGES/[^/]+\.mo"):
        if content is None:
            continue
        with tempfile.NamedTemporaryFile(suffix=".mo") as file:
            Path(file.name).write_bytes(content)
            for entry in polib.mofile(file.name):
                if entry.msgid and entry.msgstr:
                    yield Path(path).stem, entry.msgid.replace("~", ""), entry.msgstr.replace("~", "")
