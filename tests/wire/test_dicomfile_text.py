"""Character sets: pydicom as the oracle in both directions, and the code extensions of PS3.5 6.1.2.5."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.valuerep import PersonName

from hounsfield.wire.dicomfile.text import choose_character_set, decode_text, encode_text

SINGLE = {
    "ISO_IR 100": "Äneas Æsir ñ",
    "ISO_IR 101": "Łódź Čáp",
    "ISO_IR 109": "Ĉapelo",
    "ISO_IR 110": "Ģirts Ķ",
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 127": "قباني",
    "ISO_IR 138": "שרון דבורה",
    "ISO_IR 144": "Люкceмбypг",
    "ISO_IR 148": "Çavuşoğlu",
    "ISO_IR 166": "นามสกุล",
    "ISO_IR 13": "ﾔﾏﾀﾞ",
    "ISO_IR 192": "王小東 Łódź 洪",
    "GB18030": "王小东 㐂",
    "GBK": "王小东",
}


@pytest.mark.parametrize("character_set", SINGLE)
def test_single_character_sets_in_both_directions(character_set: str) -> None:
    text = SINGLE[character_set]
    codecs = convert_encodings(character_set)
    assert decode_text(encode_string(text, codecs), character_set, "LO") == text
    assert decode_bytes(encode_text(text, character_set, "LO"), codecs, set()) == text


#: The examples of PS3.5 Annexes H, I, J and K, byte for byte.
ANNEX = [
    (
        "\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
        b"=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    ("ISO_IR 192", "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東"),
    ("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
    (
        "\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东",
    ),
]


@pytest.mark.parametrize(("character_set", "raw", "text"), ANNEX)
def test_examples_of_the_standard(character_set: str, raw: bytes, text: str) -> None:
    assert decode_text(raw, character_set, "PN") == text
    assert decode_text(encode_text(text, character_set, "PN"), character_set, "PN") == text


@pytest.mark.parametrize(("character_set", "raw", "text"), [a for a in ANNEX if "58" not in a[0]])
def test_pydicom_reads_what_we_write_with_code_extensions(character_set: str, raw: bytes, text: str) -> None:
    written = encode_text(text, character_set, "PN")
    codecs = convert_encodings(character_set.split("\\"))
    assert str(PersonName(written, codecs)) == text


def test_delimiters_bring_back_the_first_character_set() -> None:
    greek = b"\x1b-F\xc4\xe9\xef^\xc4"
    assert decode_text(greek, "ISO 2022 IR 100\\ISO 2022 IR 126", "PN") == "Διο^Ä"
    assert decode_text(greek, "ISO 2022 IR 100\\ISO 2022 IR 126", "LO") == "Διο^Δ"
    assert decode_text(b"\x1b-F\xc4\\\xc4", "ISO 2022 IR 100\\ISO 2022 IR 126", "LO") == "Δ\\Ä"
    assert decode_text(b"\x1b-F\xc4\r\n\xc4", "ISO 2022 IR 100\\ISO 2022 IR 126", "LT") == "Δ\r\nÄ"
    # the default repertoire has no upper half: the last one invoked goes on
    assert decode_text(greek, "\\ISO 2022 IR 126", "PN") == "Διο^Δ"


def test_korean_goes_on_over_an_escape_to_ascii() -> None:
    assert decode_text(b"\x1b$)C\xfb\xf3\x1b(B-\xfb\xf3", "\\ISO 2022 IR 149", "LO") == "洪-洪"


def test_backslash_inside_a_two_byte_character_is_no_delimiter() -> None:
    assert b"\\" in "昞".encode("gb18030")
    assert decode_text("昞".encode("gb18030"), "GB18030", "LO") == "昞"


@pytest.mark.parametrize(
    "term", ["ISO-IR 100", "ISO IR 100", "iso_ir 100", "ISO 2022 IR 100", "ISO2022IR100"]
)
def test_misspelt_terms(term: str) -> None:
    assert decode_text(b"\xc4", term, "LO") == "Ä"


def test_never_raises_and_shows_what_it_cannot_read() -> None:
    assert decode_text(b"\xff\xfe", "ISO_IR 192", "LO") == "\ufffd\ufffd"
    assert decode_text(b"\xc4", "NO SUCH SET", "LO") == "Ä"
    assert decode_text(b"a\x1bzzb", "ISO_IR 100", "LO") == "a\x1bzzb"
    assert decode_text(b"\xc4", "rot13", "LO") == "Ä"


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=40),
    st.sampled_from([*SINGLE, *(a[0] for a in ANNEX), "", "x", "ISO 2022 IR 87\\ISO 2022 IR 159"]),
    st.sampled_from(["PN", "LO", "UT", "CS"]),
)
def test_any_bytes_decode(raw: bytes, character_set: str, vr: str) -> None:
    decode_text(raw.replace(b"!", b"\x1b$B").replace(b"#", b"\x1b$)C"), character_set, vr)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=30).filter(lambda raw: b"\x1b" not in raw), st.sampled_from(list(SINGLE)))
def test_agrees_with_pydicom_without_escapes(raw: bytes, character_set: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = decode_bytes(raw, convert_encodings(character_set), set()).rstrip(" \0")
    assert decode_text(raw, character_set, "UT") == theirs


@settings(max_examples=200, deadline=None)
@given(
    st.text(
        st.one_of(
            st.characters(min_codepoint=0x20, max_codepoint=0x7E), st.sampled_from("山田太郎홍길동Διοäñ^=ﾔﾏ")
        ),
        max_size=20,
    )
)
def test_what_can_be_encoded_comes_back(text: str) -> None:
    text = text.replace("\\", "").strip().rstrip("=").strip()
    for character_set in (
        "ISO_IR 192",
        "ISO 2022 IR 100\\ISO 2022 IR 126\\ISO 2022 IR 87\\ISO 2022 IR 149\\ISO 2022 IR 13",
    ):
        back = decode_text(encode_text(text, character_set, "PN"), character_set, "PN")
        assert back == text


def test_what_cannot_be_encoded_becomes_a_question_mark() -> None:
    assert encode_text("aä山", "ISO_IR 100", "LO") == b"a\xe4?"
    assert encode_text("ä", "", "LO") == b"?"
    assert encode_text("ä", "ISO_IR 100", "CS") == b"?"


def test_choice_of_a_character_set() -> None:
    assert choose_character_set(["abc"], "ISO_IR 144") == ""
    assert choose_character_set(["Люк"], "ISO_IR 144") == "ISO_IR 144"
    assert choose_character_set(["Ä"], "ISO_IR 144") == "ISO_IR 100"
    assert choose_character_set(["Ä", "Люк"], "ISO_IR 100") == "ISO_IR 192"
    assert choose_character_set(["山田"], "\\ISO 2022 IR 87") == "\\ISO 2022 IR 87"


def test_padding() -> None:
    assert decode_text(b" a \0", "", "LO") == "a"
    assert decode_text(b" a\\ b ", "", "SH") == "a\\b"
    assert decode_text(b" a \\b  ", "", "LT") == " a \\b"
    assert decode_text(b"A^B==\\C= ", "", "PN") == "A^B\\C"
    assert decode_text(b"1.2\0", "", "UI") == "1.2"
