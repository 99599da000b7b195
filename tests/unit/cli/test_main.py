"""Tests what every command shares: version, help, exit codes and errors in one line."""

import pytest
from typer.testing import CliRunner

import simmim
from simmim.cli import main
from simmim.errors import DataError


@pytest.fixture
def raising(monkeypatch):
    """Give a function that makes `simmim summarize` raise an error."""

    def arrange(error):
        def fail(*arguments):
            raise error

        monkeypatch.setattr("simmim.cli.document_worker.read_content", fail)
        return CliRunner().invoke(main.app, ["summarize", "x"])

    return arrange


def test_the_version_is_shown():
    result = CliRunner().invoke(main.app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"simmim {simmim.__version__}\n")


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["summarize"]])
def test_help_is_shown(command):
    result = CliRunner().invoke(main.app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage: " in result.stdout


@pytest.mark.parametrize("arguments", [["nonsense"], ["summarize"], ["train"], ["summarize", "x", "--num-beams", "0"]])
def test_wrong_usage_is_exit_code_2(arguments):
    assert CliRunner().invoke(main.app, arguments).exit_code == 2


def test_an_error_of_the_library_is_one_line(raising, monkeypatch):
    monkeypatch.setattr("simmim.cli.document_worker.DataError", KeyError)  # so that it is not caught file by file
    result = raising(DataError("first line\n  second line"))
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "error: first line second line\n")


def test_an_error_of_the_system_names_the_file(raising):
    result = raising(PermissionError(13, "Permission denied", "/a/file"))
    assert (result.exit_code, result.stderr) == (1, "error: /a/file: Permission denied\n")


def test_a_full_disk_behind_standard_output_is_one_line(raising):
    result = raising(OSError(28, "whatever a library says of it"))
    assert result.exit_code == 1
    assert result.stderr == "error: cannot write: No space left on device; free some space and run the command again\n"


def test_a_missing_package_is_named_with_the_remedy(raising):
    result = raising(ModuleNotFoundError("No module named 'datasets'", name="datasets"))
    assert result.exit_code == 1
    assert 'needs the package datasets; install it with: pip install "simmim[train]"' in result.stderr


def test_a_fault_of_ours_is_not_hidden(raising):
    assert isinstance(raising(ZeroDivisionError()).exception, ZeroDivisionError)
    assert isinstance(raising(OSError(5, "Input/output error")).exception, OSError)


@pytest.mark.parametrize(("old", "new"), [("--beams", "--num-beams"), ("--beams=0", "--num-beams")])
def test_old_names_of_options_are_read_and_not_shown(old, new):
    result = CliRunner().invoke(main.app, ["summarize", "x", *([old] if "=" in old else [old, "0"])])
    assert result.exit_code == 2
    assert f"{new}" in result.stderr
    assert "--beams" not in CliRunner().invoke(main.app, ["summarize", "--help"]).stdout.replace("--num-beams", "")


def test_verbose_shows_where_an_error_was_raised():
    *trace, last = CliRunner().invoke(main.app, ["summarize", "x", "--overwrite", "--verbose"]).stderr.splitlines()
    assert trace[0] == "Traceback (most recent call last):"
    assert last == "error: --overwrite: expected --output with it, which says what to begin again"


@pytest.mark.parametrize("command", ["evaluate", "serve"])
def test_a_model_is_named_by_an_option_and_in_this_version_also_without_it(command, tmp_path):
    found = [
        CliRunner().invoke(main.app, [command, *option, str(tmp_path / "missing")]).stderr
        for option in (["--model"], [])
    ]
    assert found[0] == found[1]
    assert f"expected the folder of a saved model, {tmp_path / 'missing'} does not exist" in found[0]
