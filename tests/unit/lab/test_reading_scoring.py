"""Tests the rules by which a reply to a question about a document is scored."""

import pytest

from lab.reading.tasks.cases import Question, score
from lab.reading.tasks.scoring import declines, normalise


def ask(*answers: str, needs: str = "any") -> Question:
    return Question("?", answers, ((0, 1),) if answers else (), "same" if answers else "none", needs)


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("30 minutes", "It should wait at least thirty minutes."),
        ("thirty", "30"),
        ("1000", "At most 1,000 octets."),
        ("1,048,576", "By one million forty-eight thousand five hundred and seventy-six."),
        ("24", "Every twenty-four hours"),
        ("6", "six (6) months"),
        ("six (6) months", "Six (6) months."),
        ("30", "30s"),
        ("50", "50KB"),
        ("900", "a 900-second timeout"),
        ("--sort=name", "Use `--sort=name`."),
        ("--sort", "Use **--sort=name**."),
        ("-x", "The option is '-x'."),
        ("HEAD", "the head method"),
        ("~/.gnupg", "It is in ‘~/.gnupg’."),
        ("/etc/ssh/ssh_known_hosts", "See /etc/ssh/ssh_known_hosts."),
        ("3:1", "A 3:1 majority."),
        ("0-31", "0–31"),
        ("%", "The sign % does."),
        ("2:15pm", "at 2:15 pm"),
    ],
)
def test_an_answer_is_found_whatever_its_spelling(answer, reply):
    assert score(ask(answer), reply) == 1.0


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("30", "130"),
        ("30", "30.5"),
        ("5", "0.5"),
        ("7", "seventeen"),
        ("-x", "-X"),
        ("-x", "-xf"),
        ("-x", "--x"),
        ("--sort", "--sort-by"),
        ("1000", "1,0001"),
        ("/etc/ssh", "/etc/ssh/sshd_config"),
        ("mail", "email"),
        ("30", ""),
    ],
)
def test_what_only_looks_like_the_answer_does_not_count(answer, reply):
    assert score(ask(answer), reply) == 0.0


def test_one_of_several_spellings_is_enough():
    assert score(ask("4-5 days", "five days"), "After 5 days.") == 1.0


@pytest.mark.parametrize(("reply", "share"), [("11, 22, 33, 44", 1.0), ("11 and 33", 0.5), ("55", 0.0)])
def test_of_required_answers_the_share_counts(reply, share):
    assert score(ask("11", "22", "33", "44", needs="all"), reply) == share


@pytest.mark.parametrize(
    "reply",
    [
        "The document does not say.",
        "The text doesn't mention a limit.",
        "This is not specified in the document.",
        "There is no information about a fee.",
        "I cannot find that here.",
        "The salary isn’t given.",
        "I don't know.",
        "No such information is provided.",
    ],
)
def test_declining_is_right_where_the_document_does_not_say(reply):
    assert declines(reply)
    assert score(ask(), reply) == 1.0


@pytest.mark.parametrize("reply", ["42", "The fee is 20 dollars.", "Use -x; it is not the default.", "No more than 5."])
def test_an_invented_answer_does_not_decline(reply):
    assert score(ask(), reply) == 0.0


def test_numbers_are_written_as_digits():
    assert normalise("One hundred and five of two thousand, 3,000 and twenty-one.") == "105 of 2000 3000 and 21"


@pytest.mark.parametrize(
    ("answers", "wording", "needs"), [((), "same", "any"), (("1",), "none", "any"), (("1",), "same", "some")]
)
def test_a_question_that_makes_no_sense_is_refused(answers, wording, needs):
    with pytest.raises(ValueError):
        Question("?", answers, (), wording, needs)
