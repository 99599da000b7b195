"""Tests that a start costs nothing: which modules the package and its commands import, and what transformers knows."""

import subprocess
import sys

import pytest

import simmim
from simmim.cli.main import COMMANDS, load

HEAVY = {"torch", "numpy", "transformers", "tokenizers", "huggingface_hub", "datasets", "pydantic", "matplotlib"}
NOT_FOR_HELP = HEAVY | {"rich", "email", "turbohtml", "pypdf", "fastapi", "uvicorn", "jinja2", "yaml", "networkx"}


def in_a_new_process(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_simmim_imports_no_library():
    code = "import sys, simmim; dir(simmim); print(*{name.partition('.')[0] for name in sys.modules})"
    assert not {*in_a_new_process(code).split()} & (NOT_FOR_HELP | {"typer"})


HELP = """
import contextlib, io, sys
from simmim.cli.main import app
for line in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        app(line.split(), prog_name="simmim")
    assert shown.getvalue().startswith(("Usage: simmim", "simmim 0")), shown.getvalue()
print(*sys.modules)
"""


def test_no_help_imports_a_library():
    names = in_a_new_process(HELP, *(f"{name} --help" for name in COMMANDS)).split()
    assert {f"simmim.cli.{name}" for name in COMMANDS} <= {*names}
    assert not {name.partition(".")[0] for name in names} & NOT_FOR_HELP


def test_version_and_the_list_of_commands_import_no_command():
    names = {*in_a_new_process(HELP, "--version", "--help").split()}
    assert not {f"simmim.cli.{name}" for name in COMMANDS} & names
    assert "rich" not in names


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_the_commands_say(name):
    assert load(name).help.partition("\n\n")[0].replace("\n", " ") == COMMANDS[name]


def test_every_public_name_is_there_and_no_other():
    assert {*simmim.__all__} <= {*dir(simmim)}
    for name in simmim.__all__:
        assert getattr(simmim, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'simmim' has no attribute 'SimMIMForNothing'"):
        _ = simmim.SimMIMForNothing


KNOWN = """
config = AutoConfig.for_model("simmim", vocab_size=30, hidden_size=8, num_attention_heads=2, intermediate_size=8)
assert type(config).__module__.startswith("simmim."), type(config)
model = AutoModelForCausalLM.from_config(config)
assert type(model).__name__ == "SimMIMForCausalLM", type(model)
"""


@pytest.mark.parametrize(
    "imports",
    [
        "from transformers import AutoConfig, AutoModelForCausalLM\nimport simmim",
        pytest.param(
            "import simmim, importlib.util\nimportlib.util.find_spec('transformers')\n"
            "from transformers.models.auto import AutoConfig, AutoModelForCausalLM",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_auto_classes_know_the_models_whatever_is_imported_first(imports):
    in_a_new_process(imports + KNOWN)
