"""Mutation testing of the gate: plant shortcuts in copies of a candidate and audit them blind."""
