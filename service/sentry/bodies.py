"""Answers' bodies: decompressed in small counted steps, and never taken for whole where they are not."""

import zlib
from collections.abc import Iterator

from service.errors import UpstreamInvalid, UpstreamTooLarge

_PIECE = 2**18
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS


class BodyDecoder:
    """Undoes a content coding (RFC 9110, section 8.4) piece by piece.

    ``max_bytes`` bounds the decoded body; None lets any length pass. However well a body is compressed, no more than
    256 KiB of it exist at a time that the reader has not taken.
    """

    def __init__(self, coding: str, *, max_bytes: int | None) -> None:
        """Raise :class:`UpstreamInvalid` for a coding that was not asked for."""
        coding = coding.strip().lower()
        if coding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
            raise UpstreamInvalid("Sentry's answer is compressed in a way that was not asked for.")
        self._inflate = None if coding in {"", "identity"} else zlib.decompressobj(_ZLIB_OR_GZIP)
        self._left = max_bytes
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes of the body, in order and exactly as they came.

        Raises :class:`UpstreamTooLarge` at the first byte over the limit, :class:`UpstreamInvalid` for bad data.
        """
        if self._inflate is None:
            self._count(data)
            yield data
            return
        self._begun = self._begun or bool(data)
        while True:
            try:
                piece = self._inflate.decompress(data, _PIECE)
            except zlib.error:
                raise UpstreamInvalid("Sentry's answer is not compressed as it says.") from None
            self._count(piece)
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail
            if not data and len(piece) < _PIECE:
                break
        if self._inflate.unused_data:
            raise UpstreamInvalid("Sentry's answer has data behind its compressed end.")

    def finish(self) -> None:
        """Say that the body has ended. Raises :class:`UpstreamInvalid` where the compressed data has not."""
        if self._inflate is not None and self._begun and not self._inflate.eof:
            raise UpstreamInvalid("Sentry's answer was cut off.")

    def _count(self, data: bytes) -> None:
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise UpstreamTooLarge("Sentry's answer is over the size cap.")
