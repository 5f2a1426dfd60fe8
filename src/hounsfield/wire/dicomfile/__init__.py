"""DICOM files and data sets (PS3.5, PS3.10): the header scan, file meta, the element writer."""
