"""What a ledger row is made of: the canonical bytes that are chained, and the payload as it is kept.

The chain of a writer: hash(n) = BLAKE3(hash(n - 1) + canonical bytes of event n), hash(0) = 32 zero bytes.
The canonical bytes are the event as one JSON object in ASCII with sorted keys and no spaces; subjects that
are '' are left out.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as quote

import zstandard
from blake3 import blake3

FIRST = bytes(32)

#: Text that payloads are likely to hold, what is likeliest last. Ledgers are read with it: it never changes.
_DICTIONARY = (
    b'"milliseconds":"status":"0000","transaction":"2.25.","why":"reason":"unknown-device","conflict","other-study"'
    b'"quarantine":"current":"hash":"sop":"1.2.276.0.7230010.3.1.4."sop_class":"1.3.6.1.4.1.1.2.826.0.1.3680043.8.498.'
    b'2.16.840.1.113669.1.3.12.2.1107.5.1.4.1.2.392.200036.9116.1.3.46.670589.1.2.840.113619.2."1.2.840.10008.5.1.4.1.1.'
    b'"1.2.840.10008.1.2.1","1.2.840.10008.1.2","1.2.840.10008.1.2.4.70","accepted","address":"127.0.0.1","called":'
    b'"HOUNSFIELD","calling":"contexts":[[1,"1.2.840.10008.1.1","implementation":"max_pdu":16384,"tls":""user_identity":""'
    b'"1.2.840.10008.5.1.4.1.1.128","1.2.840.10008.5.1.4.1.1.20","1.2.840.10008.5.1.4.1.1.88.67","1.2.840.10008.5.1.4.1.1.1.2"'
    b'"1.2.840.10008.5.1.4.1.1.6.1","1.2.840.10008.5.1.4.1.1.1.1","1.2.840.10008.5.1.4.1.1.7","1.2.840.10008.5.1.4.1.1.4",'
    b'"1.2.840.10008.5.1.4.1.1.2","modality":"bytes":"how":"released","objects":1,"seconds":"source":"import"}'
    b'{"objects":[["2.25."1.2.840.10008.5.1.4.1.1.2","]],"source":"dimse"}'
)
_WORTH = 64  # bytes below which a payload is kept as it is
_LIMIT = 1 << 28  # bytes of a payload, and far more than any has

encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode


class _Codecs(threading.local):
    """zstd contexts are for one thread at a time."""

    def __init__(self) -> None:
        dictionary = zstandard.ZstdCompressionDict(_DICTIONARY, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        bare = zstandard.FORMAT_ZSTD1_MAGICLESS
        parameters = zstandard.ZstdCompressionParameters.from_level(3, format=bare, write_dict_id=False)
        dictionary.precompute_compress(compression_params=parameters)
        self.pack = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters).compress
        self.unpack = zstandard.ZstdDecompressor(dict_data=dictionary, format=bare).decompress


_codecs = _Codecs()
_ZSTD = b"\x01"


def pack(payload: str) -> bytes:
    """A payload's canonical JSON as the row keeps it: itself, or 0x01 and a zstd frame (without magic number,
    with _DICTIONARY) where that is shorter."""
    raw = payload.encode("ascii")
    if len(raw) < _WORTH:
        return raw
    packed: bytes = _codecs.pack(raw)
    return _ZSTD + packed if len(packed) < len(raw) else raw


def unpack(kept: bytes) -> str:
    """Inverse of `pack`. Raises ValueError for anything else."""
    if kept[:1] == b"{":
        return kept.decode("ascii")
    if kept[:1] != _ZSTD:
        raise ValueError("payload is of no known kind")
    try:
        size = zstandard.get_frame_parameters(kept[1:], format=zstandard.FORMAT_ZSTD1_MAGICLESS).content_size
        if size > _LIMIT:
            raise ValueError(f"payload claims {size} bytes")
        return bytes(_codecs.unpack(kept[1:])).decode("ascii")
    except zstandard.ZstdError as error:
        raise ValueError(f"payload cannot be unpacked: {error}") from error


def canonical(
    writer: str,
    n: int,
    at: int,
    type_name: str,
    version: int,
    subjects: Mapping[str, str],
    actor: str,
    cause: str,
    payload: str,
) -> bytes:
    """The bytes that are chained. `payload` is canonical JSON already; `subjects` are sorted by kind, without
    empty ones."""
    pairs = ",".join([f'"{kind}":{quote(value)}' for kind, value in subjects.items()])
    return (
        f'{{"actor":{quote(actor)},"at":{at},"cause":{quote(cause)},"n":{n},"payload":{payload},"subjects":{{{pairs}}}'
        f',"type":{quote(type_name)},"version":{version},"writer":{quote(writer)}}}'
    ).encode("ascii")


def link(previous: bytes, event: bytes) -> bytes:
    """The chained hash of an event."""
    return blake3(previous + event).digest()
