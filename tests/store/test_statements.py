"""Batched statements: rows are counted and written alike however many there are, on both stores."""

import pytest
import sqlalchemy as sa

from kronforce.store.database import reading, writing
from kronforce.store.dialect import MANY_ROWS
from kronforce.store.hot.statements import INSERT_REQUEST
from kronforce.store.tables import requests


def row(number: int):
    return (1, f"r{number:04d}", b"h" * 32, bytes(16), number)


@pytest.mark.parametrize("count", [1, MANY_ROWS - 1, MANY_ROWS, MANY_ROWS + 1, 3 * MANY_ROWS + 5])
def test_every_row_is_written_once(database, count):
    with writing(database.main) as tx:
        assert tx.run(INSERT_REQUEST, [row(number) for number in range(count)]) == count

    with reading(database.main) as tx:
        found = tx.conn.scalars(sa.select(requests.c.created_at).order_by(requests.c.request_id))
        assert list(found) == list(range(count))


def test_rows_whose_key_is_taken_are_left_out_and_not_counted(database):
    with writing(database.main) as tx:
        tx.run(INSERT_REQUEST, [row(number) for number in (3, MANY_ROWS + 3, 4 * MANY_ROWS)])

        made = tx.run(INSERT_REQUEST, [row(number) for number in range(3 * MANY_ROWS)])

    assert made == 3 * MANY_ROWS - 2
