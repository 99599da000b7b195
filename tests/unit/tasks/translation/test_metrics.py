"""Tests the measures of translations against values worked out by hand and by sacrebleu itself."""

import pytest
import sacrebleu

from simmim.tasks.translation.metrics import measure, term_consistency
from simmim.tasks.translation.nearest import NearestBlock

SOURCES = ["Open {1}File{2} 12", "Close {1}File{2}", "the end 7", "{1}File{2} again"]
REFERENCES = ["Ouvrez {1}Fichier{2} 12", "Fermez {1}Fichier{2}", "la fin 7", "{1}Fichier{2} encore"]
DOCUMENTS = ["a", "a", "b", "c"]


def test_scores_are_those_of_sacrebleu_without_marks():
    written = ["Ouvrez {1}Dossier{2} 12", "Fermer {1}Fichier{2}", "la fin", "Fichier{2} encore"]
    plain = ["Ouvrez Dossier 12", "Fermer Fichier", "la fin", "Fichier encore"]
    references = [["Ouvrez Fichier 12", "Fermez Fichier", "la fin 7", "Fichier encore"]]
    found = measure(SOURCES, written, REFERENCES, DOCUMENTS, language="fr")
    assert found.chrf.value == pytest.approx(sacrebleu.corpus_chrf(plain, references).score)
    assert found.bleu.value == pytest.approx(sacrebleu.corpus_bleu(plain, references).score)
    assert found.chrf.low <= found.chrf.value <= found.chrf.high
    assert (found.blocks, found.documents) == (4, 3)
    assert found.marks == pytest.approx(2 / 3)
    assert found.numbers == pytest.approx(1 / 2)
    assert found.length == pytest.approx(sum(map(len, plain)) / sum(map(len, references[0])))
    assert "tok:13a" in found.signatures["bleu"]


def test_chinese_has_a_tokeniser_of_its_own():
    found = measure(["open"], ["打开文件"], ["打开文件"], ["a"], language="zh")
    assert "tok:zh" in found.signatures["bleu"]
    assert found.chrf.value == pytest.approx(100)
    assert found.marks is None
    assert found.numbers is None


def test_intervals_resample_documents():
    """Of one document there is nothing to resample: the interval is the value."""
    written = ["Ouvrez x 12", "Fermez Fichier", "la fin 7", "y"]
    one = measure(SOURCES, written, REFERENCES, ["a"] * 4, language="fr").chrf
    assert one.low == pytest.approx(one.value)
    assert one.high == pytest.approx(one.value)
    many = measure(SOURCES, written, REFERENCES, list("abcd"), language="fr").chrf
    assert many.low < many.value < many.high


def test_terms_that_are_repeated_count_in_pairs():
    written = ["{1}Fichier{2}", "{1}Dossier{2}", "{1}fichier{2}", "{1}Fichier{2}"]
    sources = ["{1}File{2}", "x {1}file{2}", "{1}File{2}", "{1}File{2}"]
    # three occurrences in document a: of three pairs one agrees; the one in b has no pair
    assert term_consistency(sources, written, ["a", "a", "a", "b"]) == pytest.approx(1 / 3)
    assert term_consistency(["no term"], ["x"], ["a"]) is None


def test_the_nearest_block_is_found():
    nearest = NearestBlock(["Open the file", "Close the file", "打开文件夹"], ["Ouvrir", "Fermer", "Open the folder"])
    assert nearest("Close the files")[0] == "Fermer"
    assert nearest("打开文件")[0] == "Open the folder"
    assert nearest("Open the file") == ("Ouvrir", 1.0)
    assert nearest("zzz") == ("zzz", 0.0)
