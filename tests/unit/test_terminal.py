"""What is shown in a terminal does not steer it."""

import io

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from simmim.cli.notices import complain, say
from simmim.console import SafeConsole
from simmim.terminal import terminal_safe

STEERING = [
    "\x1b]0;title\x07",
    "\x1b[31m",
    "\x9b2J",
    "\x07",
    "\x08",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u200b",
    "\udcff",
    "\r",
    "\x00",
]


def test_control_characters_do_not_reach_a_terminal():
    assert terminal_safe("a\tb\n\x1b[31mc\x07 d\u202e e\u200d") == "a\tb\n\ufffd[31mc\ufffd d\ufffd e\u200d"
    assert terminal_safe("می\u200cخواهم 漢 é") == "می\u200cخواهم 漢 é"


def steers(text):
    return [one for one in text if one != "\n" and not (one.isprintable() or one == "\ufffd")]


@pytest.mark.parametrize("steering", STEERING, ids=ascii)
def test_names_in_messages_and_tables_steer_nothing(steering, capsys):
    complain(f"a{steering}b: expected\n a text")
    say(f"note: a{steering}b")
    assert not steers(capsys.readouterr().err)
    out = io.StringIO()
    console = SafeConsole(file=out, color_system=None, width=80)
    table = Table(f"a{steering}b", title=f"a{steering}b")
    table.add_row(Text(f"c{steering}d"), f"[bold]e{steering}f")
    console.print(table, f"a{steering}b")
    console.out(f"a{steering}b")
    console.rule(f"a{steering}b")
    with Progress(TextColumn("{task.description}"), console=console) as progress:
        progress.add_task(f"a{steering}b")
    assert not steers(out.getvalue())
    [row] = [line for line in out.getvalue().splitlines() if "c" in line]
    assert {"d", "e", "f"} <= set(row)  # nothing is cut off


def test_colours_stay():
    out = io.StringIO()
    SafeConsole(file=out, force_terminal=True, color_system="standard").print("[red]a[/red]")
    assert "\x1b[31m" in out.getvalue()
