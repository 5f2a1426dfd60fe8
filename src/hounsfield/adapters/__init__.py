"""The only places that know a disk, a database or a peer."""
