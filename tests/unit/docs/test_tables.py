"""`docs/reference/tables.md` describes every table and column, and its queries work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from tools.docs.tables import COLUMNS, TABLES

from presenced.storage.schema import metadata

PAGE = (Path(__file__).parents[3] / "docs/reference/tables.md").read_text("utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_describes_exactly_the_tables_and_columns_of_the_schema() -> None:
    exist = {table.name: {column.name for column in table.columns} for table in metadata.sorted_tables}
    assert exist == {name: set(columns) for name, columns in COLUMNS.items()}
    assert exist.keys() == TABLES.keys()


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_works_on_the_tables(query: str) -> None:
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    values = {"now_ms": 0, "user_id": "ada"}
    with engine.connect() as connection:
        connection.execute(text(query), {name: value for name, value in values.items() if f":{name}" in query})
    engine.dispose()


@pytest.mark.parametrize(("dialect", "column"), [(sqlite.dialect, 1), (postgresql.dialect, 2), (mysql.dialect, 3)])
def test_the_types_are_those_of_each_database(dialect: Any, column: int) -> None:
    rows = [
        line.strip("| ").split(" | ") for line in PAGE.partition("## Types")[2].split("\n") if line.startswith("| ")
    ]
    shown = {row[0]: row[column].partition(",")[0].replace("(n)", "") for row in rows[1:6]}
    samples = {
        "text(n)": metadata.tables["presenced_users"].c.user_id,
        "text": metadata.tables["presenced_users"].c.chosen,
        "bigint": metadata.tables["presenced_users"].c.version,
        "integer": metadata.tables["presenced_claims"].c.priority,
        "double": metadata.tables["presenced_revocations"].c.at,
    }
    for name, sample in samples.items():
        assert str(sample.type.compile(dialect())).startswith(shown[name]), name
