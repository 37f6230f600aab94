"""Ed25519 keys, and statements in DSSE envelopes (securesystemslib): who says so, and that nobody changed it.

A key is named by its id, never shown: no message of this module holds key material.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from camgate.errors import InputError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
SIGNING_KEY = "CAMGATE_SIGNING_KEY"
"""Environment variable: path of the private key that signs."""
TRUSTED_KEYS = "CAMGATE_TRUSTED_KEYS"
"""Environment variable: paths of the public keys that a verifier trusts, as in PATH."""


def make_keys(private: str | Path) -> tuple[Path, Path, str]:
    """Write a new key pair: `private` for its owner's eyes alone (mode 0600), and beside it `.pub`.

    Returns:
        Both paths, and the key's id.

    Raises:
        InputError: one of the files exists (nothing is overwritten), or cannot be written.
    """
    secret = Path(private)
    public = secret.with_name(secret.name + ".pub")
    if public.exists():
        raise InputError(f"{public}: exists already; keys are never overwritten, choose another name")
    key = Ed25519PrivateKey.generate()
    try:
        secret.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except FileExistsError as error:
        raise InputError(
            f"{secret}: exists already; keys are never overwritten, choose another name"
        ) from error
    except OSError as error:
        raise InputError(f"{secret}: cannot be written ({error.strerror})") from error
    return secret, public, str(CryptoSigner(key).public_key.keyid)


def signing_key(path: str | Path | None = None) -> CryptoSigner | None:
    """The private key in that file; by default the one that `CAMGATE_SIGNING_KEY` names, None if it is unset.

    Raises:
        InputError: no unencrypted Ed25519 private key (PEM) can be read there.
    """
    path = path or os.environ.get(SIGNING_KEY)
    if not path:
        return None
    pem = _read(path)
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: is no unencrypted Ed25519 private key in PEM; `camgate keygen` makes one")
    return CryptoSigner(key)


def trusted_keys(paths: Iterable[str | Path] = ()) -> list[Key]:
    """The public keys in these files; by default those that `CAMGATE_TRUSTED_KEYS` names.

    Raises:
        InputError: no Ed25519 public key (PEM) can be read in one of them.
    """
    found: list[Key] = []
    for path in list(paths) or [p for p in os.environ.get(TRUSTED_KEYS, "").split(os.pathsep) if p]:
        pem = _read(path)
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise InputError(f"{path}: is no Ed25519 public key in PEM (give the file that ends in .pub)")
        found.append(SSlibKey.from_crypto(key))
    return found


def seal(statement: Mapping[str, Any], signer: CryptoSigner | None) -> str:
    """A statement as a DSSE envelope, JSON; without a signer its list of signatures is empty."""
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    if signer is not None:
        envelope.sign(signer)
    return json.dumps(envelope.to_dict(), sort_keys=True, separators=(",", ":"))


def unseal(text: str, keys: Iterable[Key]) -> tuple[dict[str, Any], str | None, bool]:
    """What an envelope holds, and who of `keys` signed it.

    Returns:
        The statement; the id of a trusted key that signed exactly this, None where none did; whether there
        is any signature at all.

    Raises:
        InputError: it is no envelope of a statement.
    """
    try:
        envelope = Envelope.from_dict(json.loads(text))
        statement = json.loads(envelope.payload)
    except Exception as error:  # whatever a hostile text makes of the parser
        raise InputError("the attestation is no DSSE envelope of a JSON statement") from error
    if envelope.payload_type != PAYLOAD_TYPE or not isinstance(statement, dict):
        raise InputError(f"the attestation is no envelope of the type {PAYLOAD_TYPE}")
    trusted = list(keys)
    try:
        accepted = envelope.verify(trusted, 1) if trusted else {}
    except VerificationError:
        accepted = {}
    return statement, next(iter(accepted), None), bool(envelope.signatures)


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the key cannot be read ({error.strerror})") from error
