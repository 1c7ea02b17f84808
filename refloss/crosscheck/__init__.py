"""Cross-check: point refloss at an implementation and learn whether it is right."""
