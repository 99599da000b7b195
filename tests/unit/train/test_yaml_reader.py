"""Tests that YAML is read as people mean it and that every complaint says where."""

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
    with pytest.raises(ConfigError, match="here: expected YAML"):
        parse_yaml("a: \x00", "here")


def test_python_objects_are_not_built():
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        parse_yaml("!!python/object/apply:os.getcwd []", "here")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="absent.yaml: cannot read the recipe: No such file"):
        read_yaml(tmp_path / "absent.yaml")


def test_the_offset_of_a_byte_that_is_no_utf8_is_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(ConfigError, match="latin.yaml: expected UTF-8 text, got byte 0xe9 at 9"):
        read_yaml(tmp_path / "latin.yaml")
