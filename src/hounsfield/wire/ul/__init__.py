"""The DICOM Upper Layer protocol (PS3.8), sans-IO."""
