"""Sentry's answers as JSON text that can be spliced into ours: checked whole, read only as far as to count items."""

from dataclasses import dataclass

import msgspec

from service.errors import UpstreamInvalid, UpstreamNotJson

LONGEST_TEXT = 64 * 1024
"""Bytes of an answer that is not JSON and still comes as a JSON string."""

_SPACE = b" \t\r\n"
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_ANYTHING = msgspec.json.Decoder(msgspec.Raw)


class _Envelope(msgspec.Struct):
    data: list[msgspec.Raw] | dict[str, msgspec.Raw] | str | float | bool | None = None  # anything, read no deeper


_OBJECT = msgspec.json.Decoder(_Envelope)


@dataclass(frozen=True, slots=True)
class Scanned:
    """``text`` is valid JSON in UTF-8 without outer white space: the body byte for byte, or text as a string.

    ``items`` is the length of a list, or of the list in an object's ``data`` (events, replays and flag logs page so).
    """

    text: bytes
    items: int | None


NOTHING = Scanned(b"null", items=None)


def scan_answer(status: int, content_type: str, body: bytes) -> Scanned:
    """Read an answer's body.

    An empty one is null. Text that is no JSON comes as a JSON string. Errors are read as JSON whatever their type says,
    since Sentry's 429 is a JSON string sent as HTML.
    Raises :class:`UpstreamInvalid` for broken JSON and :class:`UpstreamNotJson` for files.
    """
    body = body.strip(_SPACE)
    if not body:
        return NOTHING
    media_type = content_type.partition(";")[0].strip().lower()
    is_error = status >= 400
    if is_error or media_type in {"", "application/json"} or media_type.endswith("+json"):
        try:
            return scan_json(body)
        except UpstreamInvalid:
            if not is_error:
                raise
    return _quote(media_type, body)


def scan_json(body: bytes) -> Scanned:
    """Check that a body is JSON (RFC 8259, in UTF-8, without half surrogate pairs) and count its items.

    Raises :class:`UpstreamInvalid`. Seven times as fast as decoding it, and nothing is built but one view an item.
    """
    text = body.strip(_SPACE)
    try:
        # The decoder skips over what it is not asked for by grammar alone: bytes in strings are for us to check.
        if not text.isascii():
            str(text, "utf-8")
        items = _count(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamInvalid("Sentry's answer is not valid JSON.") from None
    return Scanned(text, items=items)


def _count(text: bytes) -> int | None:
    match text[:1]:
        case b"[":
            return len(_LIST.decode(text))
        case b"{":
            try:
                data = _OBJECT.decode(text).data
            except msgspec.ValidationError:  # a number beyond any float, which is JSON all the same
                _ANYTHING.decode(text)
                return None
            return len(data) if isinstance(data, list) else None
        case _:
            _ANYTHING.decode(text)
            return None


def _quote(media_type: str, body: bytes) -> Scanned:
    try:
        if len(body) <= LONGEST_TEXT and b"\0" not in body:
            return Scanned(msgspec.json.encode(str(body, "utf-8")), items=None)
    except UnicodeDecodeError:
        pass
    raise UpstreamNotJson(f"Sentry answered with a file of the type {media_type}, {len(body)} bytes long.")
