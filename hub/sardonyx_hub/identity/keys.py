"""The issuer's signing keys: made, rotated in two phases, revoked, shared between the hub and the command
line by a folder.

A key's state follows from the clock alone, so that no process has to be awake to change it: a key is *next*
until ``signs_from``, *active* until a later key takes over, *retired* (published, no longer signing) as long
as a token that it signed may live, and then gone. What JWKS caches do was read from the source of SeaweedFS
4.48 and of the library that OpenBao uses: both ask again at once when they meet an unknown ``kid`` and then
replace all that they knew; SeaweedFS also asks after ``jwksCacheTTLSeconds`` (default an hour), OpenBao never
does by itself.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

KeyState = Literal["next", "active", "retired", "gone"]

#: Seconds that a new key is published before it signs: the longest life of a JWKS cache among the backends
#: (SeaweedFS).
PUBLISH_SECONDS: Final = 3600
#: Seconds that the JWKS may be kept by an HTTP cache.
JWKS_MAX_AGE: Final = 300
#: Longest life of a token; a retired key stays published that long, and as much as clocks may differ.
TOKEN_SECONDS: Final = 300
CLOCK_SKEW: Final = 150

_METADATA = "keys.json"
_LOCK = "keys.lock"
_VERSION = 1
_log = logging.getLogger(__name__)


class KeyRingError(RuntimeError):
    """The folder of keys cannot be used; the message names the file and what to do, never a key."""


@dataclass(frozen=True)
class Key:
    """One signing key, without its private half. Times are seconds since the epoch.

    Parameters
    ----------
    kid
        RFC 7638 thumbprint of the public key.
    created_at
        When it was made, and published.
    signs_from
        When it becomes the signing key.
    n, e
        Modulus and exponent as in a JWK (RFC 7518, 6.3.1).
    """

    kid: str
    created_at: float
    signs_from: float
    n: str
    e: str

    def jwk(self) -> dict[str, str]:
        """Return the public key as a JWK (RFC 7517)."""
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": self.n, "e": self.e}


class KeyRing:
    """The signing keys in a folder, read again when another process changed them.

    Parameters
    ----------
    directory
        Made with mode 0700 if it is not there; holds ``keys.json`` and one PEM file (PKCS #8, 0600) a key.
    publish_seconds
        How long a new key is published before it signs. At least the life of the slowest JWKS cache of the
        backends that do not ask again when they meet an unknown ``kid``, and of static files as
        :func:`export` writes them.
    token_seconds
        Longest life of the tokens that are signed.
    clock, monotonic
        For tests.

    Raises
    ------
    KeyRingError
        If the folder cannot be read or written, or its contents are damaged.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        publish_seconds: float = PUBLISH_SECONDS,
        token_seconds: float = TOKEN_SECONDS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = Path(directory)
        self.publish_seconds = publish_seconds
        self.token_seconds = token_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._checked_at = float("-inf")
        self._stamp: tuple[int, int, int] | None = None
        self._keys: tuple[Key, ...] = ()
        self._private: dict[str, rsa.RSAPrivateKey] = {}
        # Tokens are signed in the broker's threads.
        self._lock = threading.RLock()
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._exclusive():
                self._load()
                if not self._keys:
                    # Nobody can have cached an empty set: the first key signs at once.
                    self._save([self._make_key()])
                self._collect()
        except OSError as error:
            raise KeyRingError(
                f"The folder of signing keys {self.directory} cannot be used: {error.strerror}."
            ) from error

    def state(self, key: Key) -> KeyState:
        """Return what `key` is for at this moment."""
        now = self._clock()
        if key.kid == self._active(now).kid:
            return "active"
        if key.signs_from > now:
            return "next"
        return "retired" if now <= self._published_until(key) else "gone"

    def published(self) -> list[Key]:
        """Return the published keys, the newest first."""
        with self._lock:
            self._refresh()
            return [key for key in reversed(self._ordered()) if self.state(key) != "gone"]

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the public keys as a JWK Set (RFC 7517): next, active and retired ones."""
        return {"keys": [key.jwk() for key in self.published()]}

    def signing_key(self) -> tuple[str, rsa.RSAPrivateKey]:
        """Return the ``kid`` and the private key that signs now.

        Raises
        ------
        KeyRingError
            If the key's file is gone or damaged.
        """
        with self._lock:
            self._refresh()
            kid = self._active(self._clock()).kid
            if kid not in self._private:
                self._private = {kid: self._read_private(kid)}
            return kid, self._private[kid]

    def rotate(self) -> Key:
        """Publish a new key, which signs after ``publish_seconds``; return it.

        While such a key waits already, that one is returned and none is made: asking twice changes nothing.
        """
        with self._lock, self._exclusive():
            self._load()
            now = self._clock()
            waiting = [key for key in self._keys if key.signs_from > now]
            if waiting:
                return max(waiting, key=lambda key: key.signs_from)
            key = self._make_key(delay=self.publish_seconds)
            self._save([*self._keys, key])
            self._collect()
            return key

    def revoke(self, kid: str) -> Key:
        """Remove the key `kid` at once and sign with a new one at once; return the new one.

        A new key is made whatever the state of the revoked one: meeting its unknown ``kid`` is what makes a
        backend ask for the JWKS again and so forget the revoked key. Backends that never ask (static files)
        need a new export.

        Parameters
        ----------
        kid
            A key's id, or the beginning of one if only one key begins so.

        Raises
        ------
        KeyRingError
            If no key or more than one is meant.
        """
        with self._lock, self._exclusive():
            self._load()
            found = [key for key in self._keys if key.kid.startswith(kid)] if kid else []
            if len(found) != 1:
                raise KeyRingError(f"{len(found) or 'No'} keys begin with {kid!r}; see `sardonyx keys list`.")
            key = self._make_key()
            self._save([*(other for other in self._keys if other.kid != found[0].kid), key])
            self._collect()
            return key

    def _active(self, now: float) -> Key:
        ordered = self._ordered()
        # A clock that was set back must not leave the issuer without a key.
        return next((key for key in reversed(ordered) if key.signs_from <= now), ordered[0])

    def _published_until(self, key: Key) -> float:
        ordered = self._ordered()
        successor = ordered[ordered.index(key) + 1 :][:1]
        end = successor[0].signs_from if successor else float("inf")
        return end + self.token_seconds + CLOCK_SKEW

    def _ordered(self) -> list[Key]:
        """Return the keys as they sign one after the other; of two for the same moment, the one made later is
        later.
        """
        return sorted(self._keys, key=lambda key: key.signs_from)

    def _refresh(self) -> None:
        """Read the folder again if another process changed it; at most one ``stat`` a second."""
        moment = self._monotonic()
        if moment - self._checked_at < 1.0:
            return
        self._checked_at = moment
        try:
            if _stamp(self.directory / _METADATA) != self._stamp:
                self._load()
        except (OSError, KeyRingError) as error:
            # A running hub goes on with the keys that it has: a damaged file must not end every session's
            # renewal.
            _log.error("The signing keys were not read again: %s", error)

    def _load(self) -> None:
        path = self.directory / _METADATA
        try:
            stamp = _stamp(path)
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["version"] != _VERSION:
                raise KeyRingError(f"{path} is of version {data['version']}, this program knows {_VERSION}.")
            keys = tuple(Key(**item) for item in data["keys"])
        except FileNotFoundError:
            if any(self.directory.glob("*.pem")):
                raise KeyRingError(f"{path} is missing beside keys: restore it, or move them away.") from None
            return
        except (ValueError, KeyError, TypeError):
            raise KeyRingError(f"{path} is damaged: restore it, or move the folder away.") from None
        if not keys:
            raise KeyRingError(f"{path} names no key: restore it, or move the folder away.")
        self._keys, self._stamp = keys, stamp
        self._private = {
            kid: key for kid, key in self._private.items() if any(kid == known.kid for known in keys)
        }

    def _save(self, keys: Sequence[Key]) -> None:
        kept = tuple(keys)
        text = json.dumps({"version": _VERSION, "keys": [asdict(key) for key in kept]}, indent=2)
        write_private(self.directory / _METADATA, text.encode())
        self._keys, self._stamp = kept, _stamp(self.directory / _METADATA)

    def _collect(self) -> None:
        """Forget keys that are gone, and delete the private halves of all that will not sign again."""
        kept = [key for key in self._keys if self.state(key) != "gone"]
        if len(kept) < len(self._keys):
            self._save(kept)
        needed = {key.kid for key in kept if self.state(key) in {"next", "active"}}
        self._private = {kid: key for kid, key in self._private.items() if kid in needed}
        for path in self.directory.glob("*.pem"):
            if path.stem not in needed:
                path.unlink(missing_ok=True)

    def _make_key(self, *, delay: float = 0.0) -> Key:
        while True:
            private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            numbers = private.public_key().public_numbers()
            n, e = _integer(numbers.n), _integer(numbers.e)
            kid = thumbprint(n, e)
            if kid[0] not in "-_":  # so that it can be typed as an argument
                break
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        # The private half is there before the metadata name it: a crash between the two leaves a stray file,
        # not a hole.
        write_private(self.directory / f"{kid}.pem", pem)
        self._private[kid] = private
        # Read after the key was made, which takes a while: the delay is a promise to those who cache.
        created_at = self._clock()
        return Key(kid=kid, created_at=created_at, signs_from=created_at + delay, n=n, e=e)

    def _read_private(self, kid: str) -> rsa.RSAPrivateKey:
        path = self.directory / f"{kid}.pem"
        try:
            if path.stat().st_mode & 0o077:
                with suppress(OSError):  # a read-only mount decides its own modes
                    path.chmod(0o600)
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise KeyRingError(f"The signing key {path} cannot be read: {type(error).__name__}.") from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise KeyRingError(f"The signing key {path} is not an RSA key.")
        return key

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the folder against other processes; they hold it for milliseconds, so a long wait means a hung
        one.
        """
        descriptor = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = self._monotonic() + 10
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self._monotonic() > deadline:
                        raise KeyRingError(f"Another process holds {self.directory / _LOCK}.") from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)


def thumbprint(n: str, e: str) -> str:
    """Return the RFC 7638 thumbprint of an RSA public key given as JWK members."""
    canonical = json.dumps({"e": e, "kty": "RSA", "n": n}, separators=(",", ":"), sort_keys=True)
    return _base64url(hashlib.sha256(canonical.encode()).digest())


def write_private(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file of mode `mode` so that a reader sees the old or the new content, and a crash leaves one of
    them.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def describe(ring: KeyRing) -> list[dict[str, Any]]:
    """Return the published keys for people: ``kid``, ``state``, ``created_at`` and ``signs_from`` (epoch
    seconds).
    """
    fields = ("kid", "created_at", "signs_from")
    return [
        {"state": ring.state(key), **{name: getattr(key, name) for name in fields}}
        for key in ring.published()
    ]


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _integer(value: int) -> str:
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
