"""What we propose to peers, and the small data sets of our own queries."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from hounsfield.domain.attributes import ATTRIBUTES
from hounsfield.domain.query import Level
from hounsfield.domain.study import StoredInstance
from hounsfield.net.association import Context
from hounsfield.ports.pixels import Transcoder
from hounsfield.wire.dicomfile.elements import decode
from hounsfield.wire.dicomfile.sop_classes import (
    PATIENT_ROOT_FIND,
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    PATIENT_STUDY_ONLY_FIND,
    PATIENT_STUDY_ONLY_GET,
    PATIENT_STUDY_ONLY_MOVE,
    STORAGE_SOP_CLASSES,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
)
from hounsfield.wire.dicomfile.text import choose_character_set, decode_text, encode_text
from hounsfield.wire.dicomfile.transfer_syntaxes import (
    EXPLICIT_LE,
    IMPLICIT_LE,
)
from hounsfield.wire.ul.items import ProposedContext, RoleSelection

#: The SOP classes of each information model (PS3.4 C.6).
FIND = {"study": STUDY_ROOT_FIND, "patient": PATIENT_ROOT_FIND, "patient-study-only": PATIENT_STUDY_ONLY_FIND}
MOVE = {"study": STUDY_ROOT_MOVE, "patient": PATIENT_ROOT_MOVE, "patient-study-only": PATIENT_STUDY_ONLY_MOVE}
GET = {"study": STUDY_ROOT_GET, "patient": PATIENT_ROOT_GET, "patient-study-only": PATIENT_STUDY_ONLY_GET}
#: Odd ids from 1 to 255.
MOST_CONTEXTS = 128
NATIVE = (EXPLICIT_LE, IMPLICIT_LE)
#: Compressed syntaxes that a C-GET proposes, those of one tuple in one context.
USUAL_COMPRESSED: tuple[tuple[str, ...], ...] = (
    ("1.2.840.10008.1.2.4.70",),  # JPEG Lossless, first-order prediction
    ("1.2.840.10008.1.2.4.90",),  # JPEG 2000 Lossless
    ("1.2.840.10008.1.2.4.80",),  # JPEG-LS Lossless
    ("1.2.840.10008.1.2.4.50",),  # JPEG Baseline
    ("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.51"),
)
OFTEN_COMPRESSED = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.1",  # CR
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray, for presentation
    "1.2.840.10008.5.1.4.1.1.1.2",  # Mammography, for presentation
    "1.2.840.10008.5.1.4.1.1.13.1.3",  # Breast Tomosynthesis
    "1.2.840.10008.5.1.4.1.1.6.1",  # Ultrasound
    "1.2.840.10008.5.1.4.1.1.3.1",  # Ultrasound Multi-frame
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.12.1",  # X-Ray Angiographic
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.77.1.4",  # VL Photographic
)
#: With fewer objects a further association costs more than it brings.
OBJECTS_PER_ASSOCIATION = 8

#: Tag and VR of what our own queries name beyond the index's attributes.
_MORE = {
    "QueryRetrieveLevel": (0x00080052, "CS"),
    "SpecificCharacterSet": (0x00080005, "CS"),
    "InstanceAvailability": (0x00080056, "CS"),
    "RetrieveAETitle": (0x00080054, "AE"),
    "FailedSOPInstanceUIDList": (0x00080058, "UI"),
    "PatientBirthTime": (0x00100032, "TM"),
    "OtherPatientIDs": (0x00101000, "LO"),
    "PatientComments": (0x00104000, "LT"),
    "NameOfPhysiciansReadingStudy": (0x00081060, "PN"),
    "OperatorsName": (0x00081070, "PN"),
}
TAGS: Mapping[str, tuple[int, str]] = {a.keyword: (a.tag, a.vr) for a in ATTRIBUTES.values()} | _MORE
_KEYWORDS = {tag: (keyword, vr) for keyword, (tag, vr) in TAGS.items()}


def usual_model(level: Level) -> str:
    """The information model to retrieve by where none is named: the study root needs no Patient ID."""
    return "patient" if level is Level.PATIENT else "study"


def proposals(sop_classes: Sequence[str]) -> list[ProposedContext]:
    """One context for each class, in the native syntaxes."""
    return [ProposedContext(1 + 2 * n, uid, NATIVE) for n, uid in enumerate(sop_classes)]


def incoming_proposals(first: int) -> tuple[list[ProposedContext], tuple[RoleSelection, ...]]:
    """What is proposed for the objects that a C-GET brings, from context id `first` on, and our role as SCP.

    The peer chooses one syntax of each context before it knows what it will send. So the classes that are
    kept compressed most often get a context for each usual syntax: it can send as stored. The other classes
    get one context, as far as the ids go. All of it stays well below the 128 KiB of A-ASSOCIATE-RQ that
    there are peers to read.
    """
    pairs = [(uid, syntaxes) for uid in OFTEN_COMPRESSED for syntaxes in (NATIVE, *USUAL_COMPRESSED)]
    others = sorted((uid for uid in STORAGE_SOP_CLASSES if uid not in OFTEN_COMPRESSED), key=_rarity)
    either = NATIVE + tuple(uid for group in USUAL_COMPRESSED for uid in group)
    pairs += [(uid, either) for uid in others]
    contexts = [
        ProposedContext(first + 2 * n, uid, syntaxes)
        for n, (uid, syntaxes) in enumerate(pairs)
        if first + 2 * n < 256
    ]
    classes = dict.fromkeys(c.abstract_syntax for c in contexts)
    return contexts, tuple(RoleSelection(uid, scu=False, scp=True) for uid in classes)


def _rarity(uid: str) -> tuple[bool, int]:
    """Image storage classes have short UIDs of one root; retired and special ones come after."""
    return (not uid.startswith("1.2.840.10008.5.1.4.1.1."), len(uid))


def groups_for_sending(
    instances: Sequence[StoredInstance], transcoder: Transcoder, parallel: int
) -> Iterator[tuple[deque[StoredInstance], list[ProposedContext]]]:
    """Associations to open: for each, its contexts and the objects it takes its next one from.

    Associations with the same contexts share one queue, so that none idles while another is behind.
    """
    for group in _by_contexts(instances):
        contexts = _contexts_for(group, transcoder)
        shared = deque(group)
        for _ in range(max(1, min(parallel, len(group) // OBJECTS_PER_ASSOCIATION))):
            yield shared, contexts


def _by_contexts(instances: Sequence[StoredInstance]) -> list[list[StoredInstance]]:
    """As few groups as have room for their contexts."""
    groups: list[list[StoredInstance]] = []
    used: list[set[tuple[str, str]]] = []
    for instance in instances:
        needs = {
            (instance.sop_class_uid, instance.transfer_syntax_uid),
            *((instance.sop_class_uid, syntax) for syntax in NATIVE),
        }
        for group, have in zip(groups, used, strict=True):
            if len(have | needs) <= MOST_CONTEXTS:
                group.append(instance)
                have |= needs
                break
        else:
            groups.append([instance])
            used.append(needs)
    return groups


def _contexts_for(group: Sequence[StoredInstance], transcoder: Transcoder) -> list[ProposedContext]:
    """A context of its own for each class and syntax, so that the peer's choice is ours to make."""
    pairs: dict[tuple[str, str], None] = {}
    for instance in group:
        pairs[(instance.sop_class_uid, instance.transfer_syntax_uid)] = None
    for sop_class, stored in list(pairs):
        for target in transcoder.targets(stored):
            if target in NATIVE:
                pairs[(sop_class, target)] = None
    return [ProposedContext(1 + 2 * n, uid, (syntax,)) for n, (uid, syntax) in enumerate(pairs)]


def identifier_items(keys: Mapping[str, str], preferred: str) -> list[tuple[int, str, bytes]]:
    """Elements of an identifier, in order, with the character set that its texts need.

    Raises KeyError for a keyword that is neither in the index's table nor a tag as eight hex digits.
    """
    character_set = choose_character_set(list(keys.values()), preferred)
    items = {}
    for keyword, text in keys.items():
        tag, vr = TAGS[keyword] if keyword in TAGS else (int(keyword, 16), "LO")
        items[tag] = (tag, vr, encode_text(text, character_set, vr))
    if character_set:
        items[0x00080005] = (0x00080005, "CS", encode_text(character_set, "", "CS"))
    return [items[tag] for tag in sorted(items)]


def read_identifier(data: bytes, context: Context, default_character_set: str) -> dict[str, str]:
    """Keyword (or tag as eight hex digits) -> text of the elements of an answer that are no sequences."""
    if not data:
        return {}
    elements = decode(
        data,
        explicit=context.transfer_syntax != IMPLICIT_LE,
    )
    named = elements.get(0x00080005)
    character_set = default_character_set
    if named is not None and isinstance(named.value, bytes):
        character_set = decode_text(named.value, "", "CS")
    found = {}
    for tag, element in elements.items():
        if isinstance(element.value, bytes):
            keyword, vr = _KEYWORDS.get(tag, (f"{tag:08X}", element.vr))
            found[keyword] = decode_text(element.value, character_set, vr)
    return found
