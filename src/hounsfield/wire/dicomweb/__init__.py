"""What DICOMweb sends and receives, as values: media types, multipart bodies, queries, XML, JSON, ranges."""
