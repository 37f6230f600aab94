"""The gate: estimates and a policy in, a verdict out."""
