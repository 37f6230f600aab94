"""What a person reads: one HTML page, and the machine-readable files beside it."""
