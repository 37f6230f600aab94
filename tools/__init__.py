"""What a release is checked by (`make release-check`). Not part of the package."""
