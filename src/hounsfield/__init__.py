"""Hounsfield, an open-source PACS."""

__version__ = "0.1.0"

#: Implementation Class UID and Version Name (PS3.7 D.3.3.2): sent in every association, written in
#: every file meta group that Hounsfield makes. The UID is derived from a UUID (PS3.5 B.2).
IMPLEMENTATION_CLASS_UID = "2.25.107250183021706404312284364023104211841"
IMPLEMENTATION_VERSION_NAME = "HOUNSFIELD_0.1"
