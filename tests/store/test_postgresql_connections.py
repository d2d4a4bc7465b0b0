"""What libpq is told: a server that is gone without a word is given up soon."""

from kronforce.store.database import open_database, reading


def parameters(url: str) -> dict[str, str]:
    database = open_database(url)
    with reading(database.main) as tx:
        raw = tx.conn.connection.driver_connection
        assert raw is not None
        found: dict[str, str] = raw.info.get_parameters()
    database.main.dispose()
    return found


def test_a_connection_is_given_up_soon_unless_its_url_says_otherwise(
    postgres_database_url: str,
) -> None:
    ours = parameters(postgres_database_url)
    theirs = parameters(f"{postgres_database_url}?connect_timeout=17&keepalives_idle=99")

    names = ("connect_timeout", "keepalives_idle", "keepalives_count", "tcp_user_timeout")
    assert [ours[name] for name in names] == ["5", "10", "3", "20000"]
    assert [theirs[name] for name in names] == ["17", "99", "3", "20000"]
