"""Tests that YAML is read as people mean it and that every complaint says where."""

import os
from pathlib import Path

import pytest

from simmim.errors import ConfigError
from simmim.train.yaml_reader import parse_yaml, read_yaml


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.e-3", "+1e-3", "0.001", "1.0e-3"])
def test_numbers_with_an_exponent_are_numbers(text):
    assert parse_yaml(f"rate: {text}", "here") == {"rate": 0.001}


@pytest.mark.parametrize("text", ["1e", "e3", "1e-3x", "v1e3"])
def test_words_that_look_a_little_like_numbers_stay_words(text):
    assert parse_yaml(text, "here") == text


def test_a_key_given_twice_is_refused_with_its_line():
    with pytest.raises(ConfigError, match=r"here, line 3, column 3: .*'b' is given twice"):
        parse_yaml("a:\n  b: 1\n  b: 2\n", "here")


def test_the_same_key_in_two_sections_is_no_repetition():
    assert parse_yaml("a: {x: 1}\nb: {x: 2}\n", "here") == {"a": {"x": 1}, "b": {"x": 2}}


def test_a_key_that_is_no_name_is_refused():
    with pytest.raises(ConfigError, match="expected a name as a key, got 3"):
        parse_yaml("3: x", "here")


@pytest.mark.parametrize("text", ["a: [1, 2", "a: b: c", "\ta: 1", "a: 'x", "- a\nb: 1"])
def test_malformed_yaml_names_the_line_in_one_line(text):
    with pytest.raises(ConfigError, match="here, line [12], column") as caught:
        parse_yaml(text, "here")
    assert "\n" not in str(caught.value)


def test_a_control_character_is_refused():
    with pytest.raises(ConfigError, match=r"here, line 2: expected YAML; the character U\+0000 is not allowed"):
        parse_yaml("b: 1\na: \x00", "here")


def test_python_objects_are_not_built():
    with pytest.raises(ConfigError, match="here, line 1, column 1: .* tags such as tag:yaml.org,2002:python/object"):
        parse_yaml("!!python/object/apply:os.getcwd []", "here")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="absent.yaml: cannot read the recipe: No such file"):
        read_yaml(tmp_path / "absent.yaml")


def test_the_offset_of_a_byte_that_is_no_utf8_is_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(ConfigError, match="latin.yaml, line 1: expected UTF-8 text, got byte 0xe9 at 9"):
        read_yaml(tmp_path / "latin.yaml")


_LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b: 1\na: .inf", "here, line 2, .*expected a finite number, got .inf"),
        ("b: 1\na: -.INF", "here, line 2, .*expected a finite number"),
        ("b: 1\na: .nan", "here, line 2, .*expected a finite number"),
        ("b: 1\na: 1e999", "here, line 2, .*expected a finite number"),
        ("b: 1\na: " + "9" * 5000, "here, line 2, .*expected a whole number of at most 64 bits"),
        ("b: 1\na: 9223372036854775808", "here, line 2, .*expected a whole number of at most 64 bits"),
        ("b: 1\na: " + "[" * 5000, "here, line 2, .*at most 32 sections within each other"),
        ("{" * 5000, "here, line 1, .*at most 32 sections within each other"),
        ("b: 1\na: !!binary aGk=", "here, line 2, .*tags such as .*binary are not read"),
        ("b: 1\na: !local x", "here, line 2, .*tags such as !local are not read"),
        ("b: &b {x: 1}\na:\n  <<: *b", "here, line 3, .*merge keys"),
        (_LAUGHS, "here, line 5, .*at most 100,000 values, aliases included"),
        ("b: 1\na: &a [*a]", "here, line 2, .*alias"),
        ("b: 1\na: *c", "here, line 2, .*alias"),
        ('b: 1\na: "\\0"', "here, line 2, .*without control characters"),
        ('b: 1\na: "\\ud800"', "here, line 2, .*without control characters"),
        ("b: 1\n? [c]\n: 1", "here, line 2, .*expected a name as a key"),
        ("a: 1\n---\na: 2", "here, line 2, .*another document"),
    ],
    ids=str.__len__,
)
def test_what_a_recipe_has_no_use_for_is_refused_with_its_line(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, "here")


@pytest.mark.parametrize("text", ["2024-13-45", "2024-01-31", "0x_", "1:30", "010", "1__0", "=", "0b1"])
def test_what_yaml_1_1_reads_as_something_else_is_a_text(text):
    assert parse_yaml(f"a: {text}", "here") == {"a": text}


def test_numbers_may_be_grouped():
    assert parse_yaml("a: 1_000\nb: 0x1F\nc: -2.5e3", "here") == {"a": 1000, "b": 31, "c": -2500.0}


def test_a_folder_a_pipe_and_a_device_are_no_recipes(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path, "folder"), (tmp_path / "pipe", "pipe"), ("/dev/zero", "device")):
        with pytest.raises(ConfigError, match=f"cannot read the recipe: .*{kind}|Is a directory"):
            read_yaml(Path(path))


def test_what_is_no_recipe_by_its_size_is_not_parsed(tmp_path):
    (tmp_path / "large.yaml").write_text("a: 1\n" + "#" * 2_000_000)
    with pytest.raises(ConfigError, match="expected a recipe of at most 1,000,000 bytes"):
        read_yaml(tmp_path / "large.yaml")
