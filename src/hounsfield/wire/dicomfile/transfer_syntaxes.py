"""Transfer syntaxes (PS3.5 section 10 and Annex A, PS3.6 Table A-1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """How a data set is written down.

    `explicit`, `little_endian`: of the data set. `encapsulated`: Pixel Data is fragments (PS3.5 A.4).
    `deflated`: the whole data set is a raw deflate stream (PS3.5 A.5). `lossy`: it may lose information; what
    is marked lossy is never the target of a lossless transcoding.
    """

    uid: str
    name: str
    explicit: bool
    little_endian: bool
    encapsulated: bool
    deflated: bool
    lossy: bool


IMPLICIT_LE: Final = "1.2.840.10008.1.2"
EXPLICIT_LE: Final = "1.2.840.10008.1.2.1"
EXPLICIT_BE: Final = "1.2.840.10008.1.2.2"
DEFLATED_LE: Final = "1.2.840.10008.1.2.1.99"
ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1: Final = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS: Final = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG_2000: Final = "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS: Final = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL: Final = "1.2.840.10008.1.2.4.202"
HTJ2K: Final = "1.2.840.10008.1.2.4.203"


def _syntax(uid: str, flags: str, name: str) -> TransferSyntax:
    """Flags: E explicit VR or I implicit, B big endian, C encapsulated, D deflated, L possibly lossy."""
    return TransferSyntax(uid, name, "E" in flags, "B" not in flags, "C" in flags, "D" in flags, "L" in flags)


_ALL = (
    _syntax(IMPLICIT_LE, "I", "Implicit VR Little Endian"),
    _syntax(EXPLICIT_LE, "E", "Explicit VR Little Endian"),
    _syntax(ENCAPSULATED_UNCOMPRESSED, "EC", "Encapsulated Uncompressed Explicit VR Little Endian"),
    _syntax(DEFLATED_LE, "ED", "Deflated Explicit VR Little Endian"),
    _syntax(EXPLICIT_BE, "EB", "Explicit VR Big Endian"),
    _syntax(JPEG_BASELINE, "ECL", "JPEG Baseline (Process 1)"),
    _syntax(JPEG_EXTENDED, "ECL", "JPEG Extended (Process 2 and 4)"),
    _syntax("1.2.840.10008.1.2.4.52", "ECL", "JPEG Extended (Process 3 and 5)"),
    _syntax("1.2.840.10008.1.2.4.53", "ECL", "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)"),
    _syntax("1.2.840.10008.1.2.4.54", "ECL", "JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9)"),
    _syntax("1.2.840.10008.1.2.4.55", "ECL", "JPEG Full Progression, Non-Hierarchical (Process 10 and 12)"),
    _syntax("1.2.840.10008.1.2.4.56", "ECL", "JPEG Full Progression, Non-Hierarchical (Process 11 and 13)"),
    _syntax(JPEG_LOSSLESS, "EC", "JPEG Lossless, Non-Hierarchical (Process 14)"),
    _syntax("1.2.840.10008.1.2.4.58", "EC", "JPEG Lossless, Non-Hierarchical (Process 15)"),
    _syntax("1.2.840.10008.1.2.4.59", "ECL", "JPEG Extended, Hierarchical (Process 16 and 18)"),
    _syntax("1.2.840.10008.1.2.4.60", "ECL", "JPEG Extended, Hierarchical (Process 17 and 19)"),
    _syntax("1.2.840.10008.1.2.4.61", "ECL", "JPEG Spectral Selection, Hierarchical (Process 20 and 22)"),
    _syntax("1.2.840.10008.1.2.4.62", "ECL", "JPEG Spectral Selection, Hierarchical (Process 21 and 23)"),
    _syntax("1.2.840.10008.1.2.4.63", "ECL", "JPEG Full Progression, Hierarchical (Process 24 and 26)"),
    _syntax("1.2.840.10008.1.2.4.64", "ECL", "JPEG Full Progression, Hierarchical (Process 25 and 27)"),
    _syntax("1.2.840.10008.1.2.4.65", "EC", "JPEG Lossless, Hierarchical (Process 28)"),
    _syntax("1.2.840.10008.1.2.4.66", "EC", "JPEG Lossless, Hierarchical (Process 29)"),
    _syntax(
        JPEG_LOSSLESS_SV1,
        "EC",
        "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])",
    ),
    _syntax(JPEG_LS_LOSSLESS, "EC", "JPEG-LS Lossless Image Compression"),
    _syntax(JPEG_LS_NEAR_LOSSLESS, "ECL", "JPEG-LS Lossy (Near-Lossless) Image Compression"),
    _syntax(JPEG_2000_LOSSLESS, "EC", "JPEG 2000 Image Compression (Lossless Only)"),
    _syntax(JPEG_2000, "ECL", "JPEG 2000 Image Compression"),
    _syntax(
        "1.2.840.10008.1.2.4.92", "EC", "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)"
    ),
    _syntax("1.2.840.10008.1.2.4.93", "ECL", "JPEG 2000 Part 2 Multi-component Image Compression"),
    _syntax("1.2.840.10008.1.2.4.94", "EL", "JPIP Referenced"),
    _syntax("1.2.840.10008.1.2.4.95", "EDL", "JPIP Referenced Deflate"),
    _syntax("1.2.840.10008.1.2.4.100", "ECL", "MPEG2 Main Profile / Main Level"),
    _syntax("1.2.840.10008.1.2.4.100.1", "ECL", "Fragmentable MPEG2 Main Profile / Main Level"),
    _syntax("1.2.840.10008.1.2.4.101", "ECL", "MPEG2 Main Profile / High Level"),
    _syntax("1.2.840.10008.1.2.4.101.1", "ECL", "Fragmentable MPEG2 Main Profile / High Level"),
    _syntax("1.2.840.10008.1.2.4.102", "ECL", "MPEG-4 AVC/H.264 High Profile / Level 4.1"),
    _syntax("1.2.840.10008.1.2.4.102.1", "ECL", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1"),
    _syntax("1.2.840.10008.1.2.4.103", "ECL", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1"),
    _syntax(
        "1.2.840.10008.1.2.4.103.1",
        "ECL",
        "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1",
    ),
    _syntax("1.2.840.10008.1.2.4.104", "ECL", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video"),
    _syntax(
        "1.2.840.10008.1.2.4.104.1",
        "ECL",
        "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video",
    ),
    _syntax("1.2.840.10008.1.2.4.105", "ECL", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video"),
    _syntax(
        "1.2.840.10008.1.2.4.105.1",
        "ECL",
        "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video",
    ),
    _syntax("1.2.840.10008.1.2.4.106", "ECL", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2"),
    _syntax(
        "1.2.840.10008.1.2.4.106.1", "ECL", "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2"
    ),
    _syntax("1.2.840.10008.1.2.4.107", "ECL", "HEVC/H.265 Main Profile / Level 5.1"),
    _syntax("1.2.840.10008.1.2.4.108", "ECL", "HEVC/H.265 Main 10 Profile / Level 5.1"),
    _syntax("1.2.840.10008.1.2.4.110", "EC", "JPEG XL Lossless"),
    _syntax("1.2.840.10008.1.2.4.111", "ECL", "JPEG XL JPEG Recompression"),
    _syntax("1.2.840.10008.1.2.4.112", "ECL", "JPEG XL"),
    _syntax(HTJ2K_LOSSLESS, "EC", "High-Throughput JPEG 2000 Image Compression (Lossless Only)"),
    _syntax(
        HTJ2K_LOSSLESS_RPCL,
        "EC",
        "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)",
    ),
    _syntax(HTJ2K, "ECL", "High-Throughput JPEG 2000 Image Compression"),
    _syntax("1.2.840.10008.1.2.4.204", "EL", "JPIP HTJ2K Referenced"),
    _syntax("1.2.840.10008.1.2.4.205", "EDL", "JPIP HTJ2K Referenced Deflate"),
    _syntax(RLE_LOSSLESS, "EC", "RLE Lossless"),
    _syntax("1.2.840.10008.1.2.6.1", "E", "RFC 2557 MIME encapsulation"),
    _syntax("1.2.840.10008.1.2.6.2", "E", "XML Encoding"),
    _syntax("1.2.840.10008.1.2.7.1", "E", "SMPTE ST 2110-20 Uncompressed Progressive Active Video"),
    _syntax("1.2.840.10008.1.2.7.2", "E", "SMPTE ST 2110-20 Uncompressed Interlaced Active Video"),
    _syntax("1.2.840.10008.1.2.7.3", "E", "SMPTE ST 2110-30 PCM Digital Audio"),
    _syntax("1.2.840.10008.1.2.8.1", "EC", "Deflated Image Frame Compression"),
    _syntax("1.2.840.10008.1.20", "I", "Papyrus 3 Implicit VR Little Endian"),
)

#: Every transfer syntax of the standard, retired ones too, by UID.
TRANSFER_SYNTAXES: Final[Mapping[str, TransferSyntax]] = {syntax.uid: syntax for syntax in _ALL}

_UNKNOWN_NAME: Final = "unknown transfer syntax"


def transfer_syntax(uid: str) -> TransferSyntax:
    """The syntax of `uid`. One that the standard does not know is taken for encapsulated Explicit VR Little
    Endian, as PS3.5 A.4 makes all newer ones."""
    known = TRANSFER_SYNTAXES.get(uid)
    return known if known is not None else TransferSyntax(uid, _UNKNOWN_NAME, True, True, True, False, True)
