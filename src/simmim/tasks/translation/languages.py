"""Names languages as people, FLORES-200 and OPUS do, and finds out which one a text is in."""

from __future__ import annotations

from collections.abc import Iterable

from simmim.errors import DataError

__all__ = ["detect_language", "flores_code", "language_name"]

# ISO 639-1: its name in English, its code in FLORES-200
_LANGUAGES = {
    "af": ("Afrikaans", "afr_Latn"),
    "ar": ("Arabic", "arb_Arab"),
    "bg": ("Bulgarian", "bul_Cyrl"),
    "bn": ("Bengali", "ben_Beng"),
    "ca": ("Catalan", "cat_Latn"),
    "cs": ("Czech", "ces_Latn"),
    "da": ("Danish", "dan_Latn"),
    "de": ("German", "deu_Latn"),
    "el": ("Greek", "ell_Grek"),
    "en": ("English", "eng_Latn"),
    "eo": ("Esperanto", "epo_Latn"),
    "es": ("Spanish", "spa_Latn"),
    "et": ("Estonian", "est_Latn"),
    "eu": ("Basque", "eus_Latn"),
    "fa": ("Persian", "pes_Arab"),
    "fi": ("Finnish", "fin_Latn"),
    "fr": ("French", "fra_Latn"),
    "ga": ("Irish", "gle_Latn"),
    "gl": ("Galician", "glg_Latn"),
    "he": ("Hebrew", "heb_Hebr"),
    "hi": ("Hindi", "hin_Deva"),
    "hr": ("Croatian", "hrv_Latn"),
    "hu": ("Hungarian", "hun_Latn"),
    "id": ("Indonesian", "ind_Latn"),
    "is": ("Icelandic", "isl_Latn"),
    "it": ("Italian", "ita_Latn"),
    "ja": ("Japanese", "jpn_Jpan"),
    "ko": ("Korean", "kor_Hang"),
    "lt": ("Lithuanian", "lit_Latn"),
    "lv": ("Latvian", "lvs_Latn"),
    "ms": ("Malay", "zsm_Latn"),
    "nb": ("Norwegian", "nob_Latn"),
    "nl": ("Dutch", "nld_Latn"),
    "pl": ("Polish", "pol_Latn"),
    "pt": ("Portuguese", "por_Latn"),
    "ro": ("Romanian", "ron_Latn"),
    "ru": ("Russian", "rus_Cyrl"),
    "sk": ("Slovak", "slk_Latn"),
    "sl": ("Slovenian", "slv_Latn"),
    "sr": ("Serbian", "srp_Cyrl"),
    "sv": ("Swedish", "swe_Latn"),
    "sw": ("Swahili", "swh_Latn"),
    "ta": ("Tamil", "tam_Taml"),
    "th": ("Thai", "tha_Thai"),
    "tr": ("Turkish", "tur_Latn"),
    "uk": ("Ukrainian", "ukr_Cyrl"),
    "ur": ("Urdu", "urd_Arab"),
    "vi": ("Vietnamese", "vie_Latn"),
    "zh": ("Chinese", "zho_Hans"),
}
_CHARACTERS = 5000


def language_name(language: str) -> str:
    """Return the English name of a language; of one that is not known here, what was given."""
    return _LANGUAGES.get(language.partition("-")[0], (language,))[0]


def flores_code(language: str) -> str:
    """Return the code of a language in FLORES-200, which NLLB uses; of one that is not known here, what was given."""
    return _LANGUAGES[language][1] if language in _LANGUAGES else language


def detect_language(name: str, texts: Iterable[str]) -> str:
    """Find out which language a document is in.

    Args:
        name: the name of the document, for an error.
        texts: its blocks; as many are read as hold 5,000 characters.

    Returns:
        The language in ISO 639-1.

    Raises:
        DataError: there is no word to tell it by.
    """
    import py3langid

    sample, size = [], 0
    for text in texts:
        sample.append(text)
        size += len(text)
        if size > _CHARACTERS:
            break
    joined = "\n".join(sample)
    if not any(map(str.isalpha, joined)):
        raise DataError(f"{name}: expected words to tell the language by, got none; name it with --from")
    return str(py3langid.classify(joined)[0])
