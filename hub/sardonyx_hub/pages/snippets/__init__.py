"""Ready-made pieces of code that reach a bucket from anywhere: for the page Account > Storage.

A snippet is a template beside this module. It is rendered on the server without keys: where one goes, a
:class:`Segment` names it, and the page's script fills it in when the person asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

#: What is secret in a snippet, by its name in the credentials document.
SECRETS: Final = ("access_key_id", "secret_access_key", "session_token")
#: As what the authorities of :class:`Target` are saved.
CA_FILE: Final = "datalab-ca.pem"

_MARK = re.compile("\x02([a-z_]+)\x03")


@dataclass(frozen=True)
class Target:
    """A bucket, and how to reach it from a person's own computer.

    Parameters
    ----------
    endpoint_url
        URL of the S3 server.
    needs_ca
        Whether its certificate is signed by authorities that computers do not know by themselves.
    """

    endpoint_url: str
    region: str
    path_style: bool
    bucket: str
    writable: bool = True
    needs_ca: bool = False


@dataclass(frozen=True)
class Segment:
    """A piece of a snippet: `text`, or the place of the secret `value`."""

    text: str = ""
    value: str = ""


@dataclass(frozen=True)
class Snippet:
    """A piece of code.

    `tried`: our tests run it against a real server.
    """

    id: str
    title: str
    group: Literal["python", "shell", "r", "spark"]
    file: str
    tried: bool = True

    def render(self, target: Target) -> Sequence[Segment]:
        """Return the code for `target`, without keys."""
        url = urlsplit(target.endpoint_url)
        text = (
            _templates()
            .get_template(self.file)
            .render(
                endpoint_url=target.endpoint_url,
                host=url.netloc,
                scheme=url.scheme,
                https=url.scheme == "https",
                region=target.region,
                path_style=target.path_style,
                addressing_style="path" if target.path_style else "virtual",
                bucket=target.bucket,
                writable=target.writable,
                ca_file=CA_FILE if target.needs_ca and url.scheme == "https" else "",
                **{name: f"\x02{name}\x03" for name in SECRETS},
            )
        )
        parts = _MARK.split(text.strip("\n"))
        return [
            Segment(value=part) if position % 2 else Segment(text=part)
            for position, part in enumerate(parts)
            if part
        ]


SNIPPETS: Final = (
    Snippet("boto3", "boto3", "python", "boto3.py.j2"),
    Snippet("s3fs", "s3fs", "python", "s3fs.py.j2"),
    Snippet("pandas", "pandas", "python", "pandas.py.j2"),
    Snippet("polars", "polars", "python", "polars.py.j2"),
    Snippet("pyarrow", "pyarrow", "python", "pyarrow.py.j2"),
    Snippet("duckdb", "DuckDB", "python", "duckdb.py.j2"),
    Snippet("exports", "export AWS_…", "shell", "exports.sh.j2"),
    Snippet("aws", "aws", "shell", "aws.sh.j2"),
    Snippet("mc", "mc (MinIO)", "shell", "mc.sh.j2"),
    Snippet("rclone", "rclone", "shell", "rclone.sh.j2"),
    Snippet("aws-s3", "aws.s3", "r", "aws.s3.R.j2", tried=False),
    Snippet("paws", "paws", "r", "paws.R.j2", tried=False),
    Snippet("arrow", "arrow", "r", "arrow.R.j2", tried=False),
    Snippet("spark", "PySpark", "spark", "spark.py.j2", tried=False),
)


def fill(segments: Sequence[Segment], values: dict[str, str]) -> str:
    """Return the code with keys, as the page's script makes it.

    Examples
    --------
    >>> fill([Segment("key = '"), Segment(value="access_key_id"), Segment("'")], {"access_key_id": "AKIA"})
    "key = 'AKIA'"
    """
    return "".join(values[segment.value] if segment.value else segment.text for segment in segments)


@cache
def _templates() -> Environment:
    folder = FileSystemLoader(Path(__file__).parent)
    # No HTML: the page escapes what comes out of here.
    return Environment(  # noqa: S701
        loader=folder,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
