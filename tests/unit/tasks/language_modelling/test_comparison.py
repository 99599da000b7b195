"""Bits per byte are sums over sums, at the right positions, with intervals over groups that differences share."""

import lzma
import math

import numpy as np
import pytest

from lab.reports.language import render_language_report
from simmim.errors import DataError
from simmim.tasks.language_modelling.bits_per_byte import TokenCosts
from simmim.tasks.language_modelling.comparison import compare_language_models, position_edges, xz_bits


def costs(bits, sizes):
    """Make the costs of a document from bits and bytes of its tokens."""
    return TokenCosts(np.array(bits, dtype=float) * math.log(2), np.cumsum(sizes))


def test_ranges_double_up_to_the_end_of_the_longest_document():
    assert [(one.label, one.least, one.below) for one in position_edges(1500)] == [
        ("0 to 256", 0, 256),
        ("256 to 512", 256, 512),
        ("512 to 1k", 512, 1024),
        ("1k or more", 1024, None),
    ]
    assert [one.label for one in position_edges(256)] == ["0 or more"]
    assert [one.label for one in position_edges(257)] == ["0 to 256", "256 or more"]


def test_figures_are_sums_over_sums():
    short, long = costs([3.0, 1.0], [2, 0]), costs([1.0] * 300 + [5.0], [2] * 300 + [0])
    found = compare_language_models({"model": [short, long]}, whole={"xz": [4.0, 700.0]})
    assert found["bits_per_byte"]["model"]["mean"] == pytest.approx(309 / 602, abs=1e-4)
    assert found["bits_per_byte"]["xz"]["mean"] == pytest.approx(704 / 602, abs=1e-4)
    assert found["differences"]["xz"]["mean"] == pytest.approx(-395 / 602, abs=1e-4)
    near, far = found["by_position"]
    assert (near["documents"], near["bytes"], far["documents"], far["bytes"]) == (2, 514, 1, 88)
    assert near["bits_per_byte"] == {"model": {"mean": round(260 / 514, 4), "low": 0.5, "high": 2.0}}
    # the end token belongs to the last byte
    assert far["bits_per_byte"]["model"]["mean"] == pytest.approx((44 + 5) / 88, abs=1e-4)
    assert near["few"]


def test_tokens_of_another_tokenizer_belong_where_they_begin():
    ours = costs([1.0] * 300 + [0.0], [1] * 300 + [0])
    theirs = costs([10.0, 20.0, 40.0], [200, 100, 0])  # begin at bytes 0 and 200, both before position 256
    found = compare_language_models({"ours": [ours], "theirs": [theirs]})
    assert found["by_position"][0]["bits_per_byte"]["theirs"]["mean"] == pytest.approx(30 / 256, abs=1e-4)
    assert found["by_position"][1]["bits_per_byte"]["theirs"]["mean"] == pytest.approx(40 / 44, abs=1e-4)


def test_intervals_are_of_groups_and_differences_paired():
    random = np.random.default_rng(0)
    levels = random.uniform(1, 3, 40)
    ours = [costs([level] * 10, [1] * 10) for level in levels]
    theirs = [costs([level + 0.1] * 10, [1] * 10) for level in levels]
    alone = compare_language_models({"ours": ours, "theirs": theirs})
    # each document is as much worse as any other: the difference is certain, though the levels are not
    assert alone["differences"]["theirs"] == {"mean": -0.1, "low": -0.1, "high": -0.1}
    width = alone["bits_per_byte"]["ours"]["high"] - alone["bits_per_byte"]["ours"]["low"]
    assert width == pytest.approx(2 * 1.96 * levels.std() / math.sqrt(40), rel=0.15)
    grouped = compare_language_models({"ours": ours}, groups=[str(place // 20) for place in range(40)])
    halves = sorted([levels[:20].mean(), levels[20:].mean()])
    assert grouped["bits_per_byte"]["ours"]["low"] == pytest.approx(halves[0], abs=1e-3)
    assert grouped["bits_per_byte"]["ours"]["high"] == pytest.approx(halves[1], abs=1e-3)


def test_every_document_must_be_there():
    one = costs([1.0, 1.0], [1, 0])
    with pytest.raises(DataError, match="b: expected one entry for each of the 1 documents, got 2"):
        compare_language_models({"a": [one], "b": [one, one]})
    with pytest.raises(DataError, match="a: expected one entry for each of the 0 documents"):
        compare_language_models({"a": []})


def test_xz_is_what_the_compressor_says():
    assert xz_bits("a tree " * 100) == 8 * len(lzma.compress(b"a tree " * 100, preset=9 | lzma.PRESET_EXTREME))


def test_the_report_holds_the_figures_and_escapes_names():
    ours, theirs = ([costs([level] * 600, [1] * 600) for level in levels] for levels in ([1.0, 2.0], [1.5, 2.5]))
    found = compare_language_models({"<b>": ours, "context 256": theirs}, whole={"xz": [900.0, 1900.0]})
    facts = {
        "about": "a <i>",
        "parameters": 12,
        "tokens": 1234,
        "seconds": 1.0,
        "peak_mib": 5.0,
        "accelerator_mib": None,
    }
    record = {
        **{"model": "<b>", "documents": 2, "rows": 2, "bytes": 1200, "grouped": False},
        "unit": ["documents", "bytes"],
        "data": {"corpus": "trees", "split": "test", "manifest": {"licence": "free"}},
        "systems": {"<b>": facts, "context 256": facts, "xz": {"about": "a compressor"}},
        "made": {"command": "simmim", "date": "today", "versions": {}, "machine": {"system": "x", "threads": 1}}
        | {"machine": {"system": "x", "threads": 1, "accelerator": None}},
        **found,
    }
    page = render_language_report(record)
    assert "<b>" not in page
    assert "<i>" not in page
    for wanted in ("1.500", "-0.500", "256 to 512", "model better", "1,234", "<svg", "trees, test split", "free"):
        assert wanted in page


def test_a_range_without_a_byte_is_left_out():
    found = compare_language_models({"model": [costs([1.0] * 600, [1] * 100 + [0] * 450 + [1] * 50)]})
    assert [(row["label"], row["bytes"]) for row in found["by_position"]] == [("0 to 256", 100), ("512 or more", 50)]
    assert sum(row["bytes"] for row in found["by_position"]) == 150
