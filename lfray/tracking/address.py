"""Where a tracker stands: a URI said without its password, probed once, and the folder of its artifacts."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, urlsplit

import sqlalchemy
from sqlalchemy.exc import ArgumentError

from lfray.names import escape
from lfray.tracking.contract import TrackerRefused

_CREDENTIALS = re.compile(r"://[^/@\s]+@")


def spoken(text: str) -> str:
    """A URI, or a text that holds one, for a message: user and password are left out."""
    return _CREDENTIALS.sub("://...@", text)


def is_server(uri: str) -> bool:
    """Whether an MLflow server answers there, rather than a database."""
    return urlsplit(uri).scheme in {"http", "https", "databricks"}


def database_file(uri: str) -> Path | None:
    """The file of a SQLite URI, None for any other."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def artifact_folder(uri: str, experiment: str) -> str | None:
    """`mlartifacts/<experiment>` beside a SQLite file, by absolute path so that any reader finds it; None: MLflow decides."""
    file = database_file(uri)
    return None if file is None else f"{(file.parent / 'mlartifacts').as_uri()}/{quote(escape(experiment), safe='')}"


def probe(uri: str) -> None:
    """Open a database once: MLflow itself would try 15 times, with pauses that double up to minutes (mlflow 3.17).

    Raises:
        TrackerRefused: Not an address that can mean a tracker.
        SQLAlchemyError: The database does not answer, or is none.
    """
    if urlsplit(uri).scheme in {"", "file"}:
        raise TrackerRefused(
            f"tracking {spoken(uri)}: MLflow no longer writes to folders. Use sqlite:///mlflow.db or a server's address"
        )
    if is_server(uri):
        return
    file = database_file(uri)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            sqlalchemy.inspect(connection).get_table_names()
    except ArgumentError as error:
        raise TrackerRefused(
            f"tracking {spoken(uri)}: must be sqlite:///file, a database's URL or a server's address. Give another URI"
        ) from error
