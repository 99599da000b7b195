"""Tests that what stands at a path is always whole: the old or the new, never a part."""

import pytest

from simmim.atomic import remove_folder, remove_leftovers, replaced_file, replaced_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    with replaced_file(path) as stream:
        stream.write("né")
        assert path.read_text() == "old"
    assert path.read_text(encoding="utf-8") == "né"
    assert names(tmp_path) == ["out.json"]


def test_a_folder_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").write_text("old")
    with replaced_folder(path) as draft:
        (draft / "new").write_text("new")
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("there_before", [True, False])
@pytest.mark.parametrize("replaced", [replaced_file, replaced_folder])
def test_an_error_leaves_everything_as_it_was(tmp_path, replaced, there_before):
    path = tmp_path / "out"
    if there_before and replaced is replaced_file:
        path.write_text("old")
    elif there_before:
        path.mkdir()

    def interrupted():
        with replaced(path) as draft:
            if replaced is replaced_file:
                draft.write("half")
            else:
                (draft / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == (["out"] if there_before else [])
    if there_before and replaced is replaced_file:
        assert path.read_text() == "old"
    elif there_before:
        assert names(path) == []


@pytest.mark.parametrize("replaced", [replaced_file, replaced_folder])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path, replaced):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "out"
    with pytest.raises(OSError, match="cannot write here") as caught, replaced(path):
        pytest.fail("the block must not run")
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("replaced", [replaced_file, replaced_folder])
def test_missing_folders_are_made_and_not_left_empty_by_a_failure(tmp_path, replaced):
    path = tmp_path / "a" / "b" / "out"
    with pytest.raises(ZeroDivisionError), replaced(path):
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []
    with replaced(path):
        pass
    assert path.exists()
    with pytest.raises(OSError, match="name too long") as caught, replaced(tmp_path / "c" / ("n" * 300) / "out"):
        pytest.fail("the block must not run")
    assert "nnn" in caught.value.filename
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize("content", ["short", "long " * 9999], ids=["at the end", "in the midst"])
def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, full_disk, content):
    path = tmp_path / "out.json"
    path.write_text("old")
    with pytest.raises(OSError, match="File too large") as caught, full_disk(3), replaced_file(path) as stream:
        stream.write(content)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.json"]


def test_a_file_does_not_replace_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError), replaced_file(tmp_path):
        pytest.fail("the block must not run")


def test_a_folder_goes_at_once(tmp_path):
    (tmp_path / "old" / "deep").mkdir(parents=True)
    remove_folder(tmp_path / "old")
    assert names(tmp_path) == []


def test_drafts_of_killed_processes_go_and_nothing_else(tmp_path):
    for name in (".out.json-x1.draft", ".hidden", "kept.draft"):
        (tmp_path / name / "inside").mkdir(parents=True)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".hidden", "kept.draft"]
