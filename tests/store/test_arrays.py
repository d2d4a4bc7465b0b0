"""Array literals say exactly what the driver's own would."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from kronforce.core.lifecycle import State
from kronforce.store import arrays

QUIET = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXT = some.text(alphabet=some.characters(blacklist_characters="\x00", codec="utf-8"))


def read_back(postgres_url: str, kind: str, literal: str) -> list:
    import psycopg  # noqa: PLC0415 -- optional: only tests on PostgreSQL need the driver

    with psycopg.connect(postgres_url) as server:
        return server.execute(f"SELECT * FROM unnest(%s::{kind})", [literal]).fetchall()


@QUIET
@given(column=some.lists(some.none() | some.integers(-(2**63), 2**63 - 1), min_size=1))
def test_numbers_come_back(postgres_url, column):
    found = read_back(postgres_url, "bigint[]", arrays.numbers(column))
    assert [row[0] for row in found] == column


@QUIET
@given(column=some.lists(some.none() | TEXT, min_size=1))
def test_texts_come_back(postgres_url, column):
    found = read_back(postgres_url, "text[]", arrays.texts(column))
    assert [row[0] for row in found] == column


@QUIET
@given(column=some.lists(some.none() | some.binary(), min_size=1))
def test_bytes_come_back(postgres_url, column):
    found = read_back(postgres_url, "bytea[]", arrays.binary(column))
    assert [row[0] for row in found] == column


def test_members_of_an_enum_are_numbers(postgres_url):
    found = read_back(postgres_url, "smallint[]", arrays.numbers([State.LOST, None, 3]))
    assert [row[0] for row in found] == [11, None, 3]


def test_truth_values_come_back(postgres_url):
    found = read_back(postgres_url, "boolean[]", arrays.numbers([True, None, False]))
    assert [row[0] for row in found] == [True, None, False]
