"""Lists the words of the hidden facts and of the questions about them, with none in both splits."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KEYS", "THEMES", "TRACKING", "Theme", "Tracking"]


@dataclass(frozen=True)
class Theme:
    """A kind of fact and how it is asked for.

    Attributes:
        fact: The sentence that is hidden.
        same: Asks for it in its words.
        other: Asks for it in other words, but for the key.
        all_same: Asks for several at once in its words.
        all_other: Asks for several at once in other words.
    """

    fact: str
    same: str
    other: str
    all_same: str
    all_other: str


@dataclass(frozen=True)
class Tracking:
    """Sentences about variables, and the question for the common words of a list.

    Attributes:
        letters: First letters of the names.
        first: Sets the first variable of a chain.
        copy: Sets the next.
        same: Asks for the names in the words of the sentences.
        other: Asks for them in other words.
        common: Asks for the common words.
    """

    letters: str
    first: str
    copy: str
    same: str
    other: str
    common: str


KEYS = {
    "settings": (
        "amber broken crimson distant eager faded gentle hollow iron jolly lonely mellow".split(),
        "anchor bakery chapel dolphin engine fountain garden harbour island jacket kettle ladder".split(),
    ),
    "scored": (
        "ancient brisk curious dusty emerald frozen golden humble ivory jagged kindly lucky marble narrow olive "
        "patient quiet rusty silver tender velvet wooden".split(),
        "barrel castle drummer elephant falcon glacier hammer inn jeweller kingfisher library mill notebook orchard "
        "pilot quarry raven saddle teapot umbrella violin windmill".split(),
    ),
}

THEMES = {
    "settings": (
        Theme(
            "The entry code of the {key} is {value}.",
            "What is the entry code of the {key}?",
            "Which digits must be typed to get into the {key}?",
            "What are all the entry codes of {keys}?",
            "Which digits must be typed to get into {keys}? Give every number.",
        ),
        Theme(
            "The weight of the {key} is {value} grams.",
            "What is the weight of the {key}?",
            "How heavy is the {key}?",
            "What are all the weights of {keys}?",
            "How heavy are {keys}? Give every figure.",
        ),
    ),
    "scored": (
        Theme(
            "The price of the {key} was {value} florins.",
            "What was the price of the {key}?",
            "How much money did the {key} cost?",
            "What were all the prices of {keys}?",
            "How much money was paid for {keys}? List each amount.",
        ),
        Theme(
            "The telephone number of the {key} is {value}.",
            "What is the telephone number of the {key}?",
            "How does one call up the {key}?",
            "What are all the telephone numbers of {keys}?",
            "What does one dial to reach {keys}? List each of them.",
        ),
        Theme(
            "The population of the town named {key} is {value}.",
            "What is the population of the town named {key}?",
            "How many people live in {key}?",
            "What are all the populations given for {keys}?",
            "How many people are said to live in {keys}? List each count.",
        ),
    ),
}

TRACKING = {
    "settings": Tracking(
        "BCDFG",
        "Let {name} be {value}.",
        "Let {name} be what {other} is.",
        "Which {count} names are {value}, by being so or by being what another is?",
        "Name all {count} letter codes that stand for {value} in the end.",
        "Which {count} words occur most often in the list?",
    ),
    "scored": Tracking(
        "JKLMNPRSTV",
        "The variable {name} is set to {value}.",
        "The variable {name} is set to the value of {other}.",
        "Which variables are set to {value}, directly or through the value of others? There are {count}.",
        "Following every assignment, find the {count} identifiers that end up equal to {value}.",
        "Name the {count} words that come up far more frequently than the rest.",
    ),
}
