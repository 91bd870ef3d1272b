import pytest

from service.errors import RequestTooLarge
from service.graphql_http.cost import read_costs
from service.graphql_http.documents import Document, Documents
from service.graphql_http.limits import Limits
from service.graphql_http.problems import InvalidDocument, OperationNotFound, UnparsableDocument
from service.settings import Settings
from tests.graphql_http.small_graph import schema


@pytest.fixture
def documents() -> Documents:
    return Documents(schema._schema, Limits.of(Settings()), read_costs(schema))


def test_a_valid_document_is_parsed_once(documents: Documents) -> None:
    first = documents.load("{ hello }")
    assert documents.load("{ hello }") is first
    assert documents.load("{ hello } ") is not first


def test_an_operations_cost_is_compiled_once(documents: Documents) -> None:
    document = documents.load("query A { hello } query B { echo }")
    assert document.operation("A") is document.operation("A")
    assert document.operation("B").name == "B"
    assert document.operation("B").is_query


def test_the_least_used_documents_go_when_the_cache_is_full() -> None:
    generous = Limits.of(Settings(max_root_fields=10_000, max_aliases=10_000))
    documents = Documents(schema._schema, generous, {})
    fields = " ".join(f"a{number}: hello" for number in range(1000))

    def load(number: int) -> Document:
        return documents.load(f"{{ {fields} }}" + " " * number)

    first, kept = load(0), load(1)
    for number in range(2, 60_000 // first.tokens):
        load(number)
        load(1)
    assert load(1) is kept
    assert load(0) is not first


def test_bad_documents_evict_no_good_one(documents: Documents) -> None:
    good = documents.load("{ hello }")
    for number in range(300):
        with pytest.raises(InvalidDocument):
            documents.load("{" + f" nope{number}" * 20 + "}")
    assert documents.load("{ hello }") is good
    assert len(documents._cache) == 1


@pytest.mark.parametrize("text", ["{ " + "hello " * 4000 + "}", "{ hello(" * 2000, "{" * 4001])
def test_tokens_are_limited(documents: Documents, text: str) -> None:
    with pytest.raises(RequestTooLarge, match="4000 tokens"):
        documents.load(text)


def test_a_syntax_error_in_a_long_document_is_one(documents: Documents) -> None:
    with pytest.raises(UnparsableDocument):
        documents.load("{ hello " * 100)
    with pytest.raises(UnparsableDocument):
        documents.load("{ hello \x00" + " hello" * 5000)


@pytest.mark.parametrize(
    "text", ["{ hello }" + "#" * 100_000, "#\n" * 60_000, '{ echo(text: "' + "x" * 100_000 + '") }']
)
def test_characters_are_limited_too(documents: Documents, text: str) -> None:
    with pytest.raises(RequestTooLarge, match="100000"):
        documents.load(text)


@pytest.mark.parametrize(
    "text", ["", " ", "# nothing", "\ufeff", "type A { b: C }", "subscription { a }", "{ hello } { echo }"]
)
def test_what_is_no_operation_is_refused(documents: Documents, text: str) -> None:
    with pytest.raises(InvalidDocument):
        documents.load(text)


@pytest.mark.parametrize(
    "text",
    [
        "{" + "person { name } " * 600 + "}",
        "{" + "person { friends { name } } " * 390 + "}",
        "{" + 'echo(text: "x") ' * 600 + "}",
    ],
)
def test_many_overlapping_fields_are_given_up_on_early(text: str) -> None:
    generous = Limits.of(Settings(max_root_fields=10_000))
    documents = Documents(schema._schema, generous, {})
    with pytest.raises(InvalidDocument, match="Validation aborted"):
        documents.load(text)


def test_an_ordinary_document_is_far_from_that() -> None:
    documents = Documents(schema._schema, Limits.of(Settings()), {})
    spreads = " ".join(f"...F{number}" for number in range(25))
    fragments = " ".join(
        f"fragment F{number} on Query {{ person {{ id name friends {{ id name }} }} }}" for number in range(25)
    )
    documents.load(f"{{ {spreads} }} {fragments}")


def test_a_cycle_of_fragments_is_refused(documents: Documents) -> None:
    with pytest.raises(InvalidDocument, match="Cannot spread fragment 'A' within itself"):
        documents.load("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }")


def test_an_operation_is_found_by_name_or_alone(documents: Documents) -> None:
    assert documents.load("query A { hello }").operation(None).node.name is not None
    with pytest.raises(OperationNotFound, match="several"):
        documents.load("query A { hello } query B { hello }").operation(None)
    with pytest.raises(OperationNotFound, match="no such"):
        documents.load("query A { hello }").operation("B")
