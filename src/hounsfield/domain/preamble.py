"""The 128 bytes before "DICM": free for any use (PS3.10 7.1), also for making the file a program.

What is kept stays byte-exact; what is given out as a file begins with zeros instead of a program's header.
"""

from __future__ import annotations

PREAMBLE_LENGTH = 128

#: First bytes by which a system, a browser or an unpacker takes a file for something that it runs or opens.
#: TIFF ("II*\0", "MM\0*") is not among them: whole-slide images are DICOM and TIFF on purpose (PS3.10 7.1).
_MAGIC = (
    (b"MZ", "Windows program"),
    (b"ZM", "Windows program"),
    (b"\x7fELF", "ELF program"),
    (b"\xfe\xed\xfa\xce", "Mach-O program"),
    (b"\xfe\xed\xfa\xcf", "Mach-O program"),
    (b"\xce\xfa\xed\xfe", "Mach-O program"),
    (b"\xcf\xfa\xed\xfe", "Mach-O program"),
    (b"\xca\xfe\xba\xbe", "Mach-O program or Java class"),
    (b"\xca\xfe\xba\xbf", "Mach-O program"),
    (b"\xbe\xba\xfe\xca", "Mach-O program"),
    (b"dex\n", "Android program"),
    (b"\0asm", "WebAssembly program"),
    (b"\xe9", "DOS program"),
    (b"\xeb", "DOS program or boot sector"),
    (b"#!", "script"),
    (b"PK", "ZIP or JAR"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"{\\rtf", "RTF"),
    (b"\xd0\xcf\x11\xe0", "OLE document"),
    (b"L\0\0\0\x01\x14\x02\0", "Windows shortcut"),
    (b"Rar!", "RAR"),
    (b"7z\xbc\xaf", "7-Zip"),
    (b"\x1f\x8b", "gzip"),
    (b"MSCF", "cabinet"),
    (b"!<arch>", "archive"),
)
#: Shells and browsers look further than the first byte for these.
_TEXT = ((b"<", "HTML or XML"), (b"@echo", "batch file"))


def disguise(start: bytes) -> str:
    """What else than DICOM a Part 10 file beginning with `start` is; '' where it is nothing dangerous."""
    if start[128:132] != b"DICM":
        return ""
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    text = start[:PREAMBLE_LENGTH].removeprefix(b"\xef\xbb\xbf").lstrip(b"\0\t\r\n\x0b\x0c ")
    for magic, name in _TEXT:
        if text[: len(magic)].lower() == magic:
            return name
    return ""


def neutral(start: bytes) -> bytes:
    """`start` with zeros for its preamble. It must hold at least the preamble."""
    return bytes(PREAMBLE_LENGTH) + start[PREAMBLE_LENGTH:]
