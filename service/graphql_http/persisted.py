"""Documents that clients name by their SHA-256 instead of sending them.

Either every client may register documents as it goes (Apollo's automatic persisted queries), or only documents from the
operator's file run at all.
"""

import hashlib
import re
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
from cachetools import LRUCache

from service.errors import ConfigurationError, ServiceError
from service.graphql_http.documents import Documents
from service.graphql_http.problems import MalformedRequest, PersistedQueryNotFound, PersistedQueryOnly
from service.graphql_http.requests import GraphQLRequest
from service.settings import PREFIX

_HASH = re.compile(r"[0-9a-f]{64}\Z")
_MAX_TENANTS = 64
_MAX_CHARACTERS_PER_TENANT = 1_000_000


class PersistedDocuments(Protocol):
    """Where the text of a request's document comes from."""

    def find(self, tenant_id: str, request: GraphQLRequest) -> str:
        """The document's text. Raises a :class:`ServiceError` that says what to send instead."""
        ...

    def remember(self, tenant_id: str, request: GraphQLRequest) -> None:
        """The request's document is valid: keep it if the request asks for that."""
        ...


class AutomaticDocuments:
    """Automatic persisted queries: kept in memory for each tenant, the least used going first."""

    def __init__(self) -> None:
        self._tenants: LRUCache[str, LRUCache[str, str]] = LRUCache(_MAX_TENANTS)

    def find(self, tenant_id: str, request: GraphQLRequest) -> str:
        """The query as sent, after a look at its hash; or the one registered under the hash."""
        digest = _persisted_hash(request)
        if request.query:
            if digest is not None and digest != _sha256(request.query):
                raise MalformedRequest(
                    "`extensions.persistedQuery.sha256Hash` is not the hash of `query`.",
                    cure="Send the lower-case hexadecimal SHA-256 of the query's UTF-8 text.",
                )
            return request.query
        if digest is None:
            if request.document_id is not None:
                raise MalformedRequest(
                    "There are no trusted documents here to name by `documentId`.", cure="Send the `query` itself."
                )
            raise MalformedRequest("There is no `query`.", cure="Send the GraphQL document as `query`.")
        known = self._tenants.get(tenant_id)
        found = known.get(digest) if known is not None else None
        if found is None:
            # Apollo's clients look for this very message.
            raise PersistedQueryNotFound("PersistedQueryNotFound")
        return found

    def remember(self, tenant_id: str, request: GraphQLRequest) -> None:
        """Register a query that came with its hash."""
        digest = _persisted_hash(request)
        if digest is None or request.query is None or len(request.query) > _MAX_CHARACTERS_PER_TENANT:
            return
        known = self._tenants.get(tenant_id)
        if known is None:
            known = self._tenants[tenant_id] = LRUCache(_MAX_CHARACTERS_PER_TENANT, getsizeof=len)
        known[digest] = request.query


class TrustedDocuments:
    """Only the documents of the operator's file: ``{sha256: document}``."""

    def __init__(self, documents: dict[str, str]) -> None:
        self._documents = documents

    @classmethod
    def read(cls, path: Path, documents: Documents) -> Self:
        """Read the file and check each document against the schema and the limits.

        Raises :class:`ConfigurationError` with one line for each that is wrong.
        """
        variable = f"{PREFIX}TRUSTED_DOCUMENTS"
        try:
            trusted = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except OSError as error:
            raise ConfigurationError(f"{variable}: {path}: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{variable}: {path}: not a JSON object of strings: {error}") from None
        wrong = [f"{variable}: {digest[:80]}: {reason}" for digest, reason in _check(trusted, documents)]
        if wrong:
            raise ConfigurationError("\n".join(wrong))
        return cls(trusted)

    def find(self, tenant_id: str, request: GraphQLRequest) -> str:  # noqa: ARG002 - all tenants share the file
        """The trusted document that the request names by ``documentId`` or hash, or sends whole."""
        digest = _document_hash(request) or _persisted_hash(request)
        if digest is None and request.query is not None:
            digest = _sha256(request.query)
        found = self._documents.get(digest or "")
        if found is None:
            raise PersistedQueryOnly("Only trusted documents run here.")
        return found

    def remember(self, tenant_id: str, request: GraphQLRequest) -> None:
        """Nothing: the file is all there is."""


def _check(trusted: dict[str, str], documents: Documents) -> list[tuple[str, str]]:
    wrong = []
    for digest, text in trusted.items():
        if digest != _sha256(text):
            wrong.append((digest, f"the document's SHA-256 is {_sha256(text)}"))
            continue
        try:
            documents.load(text)
        except ServiceError as error:
            wrong.append((digest, error.message))
    return wrong


def _persisted_hash(request: GraphQLRequest) -> str | None:
    """``extensions.persistedQuery.sha256Hash``, checked."""
    persisted: Any = request.extensions.get("persistedQuery")
    if persisted is None:
        return None
    if not isinstance(persisted, dict) or persisted.get("version") != 1:
        raise MalformedRequest(
            "`extensions.persistedQuery` is of an unknown kind.",
            cure='Send {"version": 1, "sha256Hash": "…"}.',
        )
    return _checked_hash(persisted.get("sha256Hash"), "`extensions.persistedQuery.sha256Hash`")


def _document_hash(request: GraphQLRequest) -> str | None:
    """``documentId``: the hash, perhaps after ``sha256:`` (GraphQL over HTTP, appendix A)."""
    if request.document_id is None:
        return None
    return _checked_hash(request.document_id.removeprefix("sha256:"), "`documentId`")


def _checked_hash(value: object, what: str) -> str:
    if not isinstance(value, str) or _HASH.match(value.lower()) is None:
        raise MalformedRequest(
            f"{what} is not a SHA-256.", cure="Send the 64 hexadecimal digits of the document's SHA-256."
        )
    return value.lower()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
