"""The project's own corpora, from packages of Debian, npm and pip; importing this registers them by name.

`python -m lab.corpora` lists and builds them; what is built lies in the cache, where simmim finds it by its name.
"""

import importlib
from collections.abc import Mapping, Sequence

from simmim.data.corpora import CorpusBuilder, register_corpus
from simmim.data.splits import Row
from simmim.errors import DataError

__all__: list[str] = []


def _builder(corpus: str, module: str) -> CorpusBuilder:
    """Return the builder in a module of ours, whose libraries are needed only where a corpus is built."""

    def build() -> tuple[Mapping[str, Sequence[Row]], Mapping[str, object]]:
        try:
            found = importlib.import_module(f"lab.corpora.{module}")
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            package = "python-debian" if missing == "debian" else missing
            raise DataError(
                f"corpus {corpus}: expected the package {package}, which is missing ({error}). "
                f"Install it: pip install {package}."
            ) from error
        return found.build()

    return build


for _name, _module, _about in (
    ("debian-descriptions", "debian_descriptions", "the description of a Debian package -> its synopsis"),
    ("man-pages", "man_pages", "a manual page -> the description in its NAME section"),
    ("python-docstrings", "python_docstrings", "a Python module -> its docstring"),
    ("rfc-abstracts", "rfc_abstracts", "an RFC -> its abstract"),
    ("shakespeare-plays", "shakespeare_plays", "conversations: scenes of Shakespeare's plays"),
    (
        "friends-transcripts",
        "friends_transcripts",
        "conversations: episodes of a television series; not to be passed on",
    ),
    ("state-of-the-union", "state_of_the_union", "texts: speeches of presidents of the United States"),
    ("debian-documentation", "debian_documentation", "texts: documentation of Linux, Python, Git and Perl"),
):
    register_corpus(_name, _builder(_name, _module), _about, redistributable=_name != "friends-transcripts")
