"""Tests that encodings are those of the WHATWG Encoding Standard, a byte order mark first."""

import pytest

from simmim.cli.documents import extract
from simmim.cli.encodings import check_encoding
from simmim.errors import ConfigError, DataError


@pytest.mark.parametrize("suffix", ["txt", "md", "html"])
@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("named", [None, "latin1"])
def test_a_byte_order_mark_goes_first(suffix, codec, named):
    mark = "\ufeff" if codec.endswith("be") else ""
    content = (mark + '<meta charset="koi8-r">é漢🌲').encode(codec)
    text = extract(f"text.{suffix}", content, named).text
    assert text.removeprefix('<meta charset="koi8-r">') == "é漢🌲"


@pytest.mark.parametrize(
    ("label", "content", "text"),
    [
        ("gb2312", b"\xc4\xe3\x80", "你€"),
        ("GBK", "𠀀".encode("gb18030"), "𠀀"),
        ("iso-8859-1", b"\x93caf\xe9\x94", "“café”"),
        (" Latin1\n", b"\x80", "€"),
        ("us-ascii", b"\x80\xe9", "€é"),
        ("windows-1252", b"\x81", "\x81"),
        ("x-sjis", b"\x87\x40\x81\x60", "①～"),
        ("ks_c_5601-1987", "뷁".encode("cp949"), "뷁"),
        ("big5", b"\xa4\xa4\x88\x62", "中Ê̄"),
        ("koi8-u", b"\xae", "ў"),
        ("iso-8859-9", b"\xfd", "ı"),
        ("tis-620", b"\xa1", "ก"),
        ("x-mac-cyrillic", b"\x80", "А"),
        ("logical", b"\xf9", "ש"),
        ("iso-2022-jp", b"\x1b$B4A\x1b(B", "漢"),
    ],
)
def test_a_label_stands_for_what_the_standard_says(label, content, text):
    assert extract("text.txt", content, label).text == text
    page = b'<meta charset="' + label.encode() + b'"><p>' + content
    assert extract("page.html", page).text == text
    pragma = (
        b"<meta content='text/html; charset = " + label.strip().encode() + b"' http-equiv=Content-Type><p>" + content
    )
    assert extract("page.html", b"<!--" + b"-" * 2000 + b"-->" + pragma).text == text


@pytest.mark.parametrize(
    "label",
    [
        *"base64 zlib bz2 rot13 hex quopri uu undefined idna punycode unicode_escape raw_unicode_escape utf-7".split(),
        *"utf-32 mbcs oem nonsense cp037 whatwg-gbk ../x".split(),
        *("", " ", "\0", "utf-8\0", "é", "\ud800", "a" * 10_000),
    ],
)
def test_what_is_no_encoding_of_text_is_refused_or_ignored(label):
    with pytest.raises(ConfigError, match="--encoding: expected a text encoding .*, got "):
        check_encoding(label)
    label = label.replace("\0", "&#0;")
    assert extract("page.html", f'<meta charset="{label}"><p>é'.encode(errors="replace")).text == "é"


@pytest.mark.parametrize("label", ["replacement", "iso-2022-kr", "HZ-GB-2312"])
def test_an_unsafe_encoding_is_refused(label):
    with pytest.raises(ConfigError, match="--encoding: expected a text encoding"):
        check_encoding(label)
    with pytest.raises(DataError, match="page.html: declares an encoding that is unsafe to read"):
        extract("page.html", b"<meta charset=%s>text" % label.encode())


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (b"<meta charset=>\xc3\xa9", "é"),
        (b"<meta charset=base64><meta charset=koi8-r>\xc1", "а"),
        (b"<meta charset=utf-16le>\xc3\xa9", "é"),
        (b"<meta charset=utf-16>\xc3\xa9", "é"),
        (b"<meta content='text/html;charset=koi8-r'>\xc3\xa9", "é"),
        (b"<!-- <meta charset=koi8-r> -->\xc3\xa9", "é"),
        (b"<?xml version='1.0' encoding='koi8-r'?><p>\xc1", "а"),
        (b"<?xml version='1.0' encoding='koi8-r'?><meta charset=utf-8>\xc3\xa9", "é"),
        (b"<?xml version='1.0' encoding='UTF-16'?><p>\xc3\xa9", "é"),
        (b"<?xml version='1.0' encoding='hex'?><p>\xc3\xa9", "é"),
    ],
)
def test_a_page_declares_its_encoding(page, text):
    assert extract("page.xhtml", page).text == text


@pytest.mark.parametrize(
    ("label", "content", "message"),
    [
        ("utf-8", b"ab\xff", "text in UTF-8, got byte 0xff at offset 2; name its own"),
        ("utf-16", b"a\0b\0\0\xd8", "text in UTF-16LE, got byte 0x00 at offset 4"),
        ("euc-kr", b"\xb0\xa1a\xffb", "text in EUC-KR, got byte 0xff at offset 3"),
        ("gb18030", b"\xc4\xe3\xff", "text in gb18030, got byte 0xff at offset 2"),
        ("shift_jis", b"ab\x81", "text in Shift_JIS, got byte 0x81 at offset 2"),
        ("iso-2022-jp", b"\x1b$B4A\x1b(B\xff", "text in ISO-2022-JP, got byte 0xff at offset 8"),
        ("windows-1253", b"\xd2", "text in windows-1253, got byte 0xd2 at offset 0"),
        ("latin1", b"a\0b", "got a NUL character at 1"),
    ],
)
def test_what_is_invalid_is_refused_with_its_place(label, content, message):
    with pytest.raises(DataError, match=f"text.txt: expected .*{message}"):
        extract("text.txt", content, label)


def test_names_that_python_has_for_encodings_of_the_standard_are_known():
    assert [check_encoding(name) for name in ("latin-1", "utf_8", "cp936", "shift_jis")] == [
        *("windows-1252", "UTF-8", "GBK", "Shift_JIS")
    ]
