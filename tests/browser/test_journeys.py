"""Journeys 8, 9 and 12: in a notebook and a terminal of a session, storage and secrets work with nothing
configured by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pages import Lab, LaunchForm, Notebook, SignIn, Terminal, screenshot
from playwright.sync_api import Page
from stack import PASSWORD, Stack

pytestmark = pytest.mark.timeout(600)

TOKEN = "pâté $HOME \"q\" 'q' {0} \\ 🥔"
NewWindow = Callable[[], Page]

#: Makes real files and puts them where the journeys want them: in one's own bucket, private and in
#: diffusion/.
MAKE_FILES = """
import os
import pandas as pd, s3fs
S3_ENDPOINT_URL = "https://" + os.environ["AWS_S3_ENDPOINT"]
airports = pd.DataFrame({"code": [f"A{i:04}" for i in range(5000)], "passengers": range(5000)})
airports.to_csv("airports.csv", index=False)
airports.to_parquet("airports.parquet")
fs = s3fs.S3FileSystem(client_kwargs={"endpoint_url": S3_ENDPOINT_URL})
for target in ["a.csv", "private/airports.csv", "diffusion/airports.csv"]:
    fs.put("airports.csv", f"alice/{target}")
for target in ["private/airports.parquet", "diffusion/airports.parquet"]:
    fs.put("airports.parquet", f"alice/{target}")
fs.put("airports.csv", "shared/airports.csv")
print(sorted(fs.ls("alice")))
"""

#: What a person types in a cell, and what must then stand below it.
PYTHON = {
    "environment": (
        "[os.environ[n] != '' for n in ('AWS_S3_ENDPOINT', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY',"
        " 'AWS_SESSION_TOKEN', 'AWS_DEFAULT_REGION')]",
        r"^\[True, True, True, True, True\]$",
    ),
    "pandas-csv": ("len(pd.read_csv('s3://alice/diffusion/airports.csv'))", r"^5000$"),
    "pandas-parquet": (
        "int(pd.read_parquet('s3://alice/private/airports.parquet').passengers.sum())",
        r"^12497500$",
    ),
    "pandas-write": (
        "airports.to_csv('s3://alice/out.csv', index=False); airports.to_parquet('s3://alice/out.parquet')\n"
        "len(pd.read_csv('s3://alice/out.csv')), len(pd.read_parquet('s3://alice/out.parquet'))",
        r"^\(5000, 5000\)$",
    ),
    "s3fs-list": (
        "fs.invalidate_cache(); fs.ls('alice/diffusion')",
        r"alice/diffusion/airports\.csv.*airports\.parquet",
    ),
    "s3fs-explicit-keys": (
        "keys = s3fs.S3FileSystem(client_kwargs={'endpoint_url': S3_ENDPOINT_URL}, key=os.environ['AWS_ACCESS_KEY_ID'],"
        " secret=os.environ['AWS_SECRET_ACCESS_KEY'], token=os.environ['AWS_SESSION_TOKEN'])\n"
        "with keys.open('alice/notes.txt', 'w') as file:\n    _ = file.write('hello')\n\n"
        "keys.cat('alice/notes.txt')",
        r"^b'hello'$",
    ),
    "boto3": (
        "import boto3\ns3 = boto3.client('s3', endpoint_url=S3_ENDPOINT_URL)\n"
        "s3.put_object(Bucket='alice', Key='boto.txt', Body=b'ok')\n"
        "s3.get_object(Bucket='alice', Key='boto.txt')['Body'].read()",
        r"^b'ok'$",
    ),
    "boto3-no-argument": (
        "[b['Name'] for b in boto3.client('s3').list_buckets()['Buckets'] if b['Name'] == 'alice']",
        r"^\['alice'\]$",
    ),
    "polars": (
        "import polars as pl\npl.read_csv('s3://alice/a.csv').height,"
        " pl.scan_parquet('s3://alice/private/airports.parquet').select(pl.col('passengers').max()).collect().item()",
        r"^\(5000, 4999\)$",
    ),
    "pyarrow": (
        "import pyarrow.parquet as pq, pyarrow.dataset as ds, pyarrow.fs\n"
        "arrow = pyarrow.fs.S3FileSystem(endpoint_override=os.environ['AWS_S3_ENDPOINT'])\n"
        "pq.read_table('alice/private/airports.parquet', filesystem=arrow).num_rows,"
        " ds.dataset('alice/diffusion/airports.parquet', filesystem=arrow).count_rows()",
        r"^\(5000, 5000\)$",
    ),
    "duckdb": (
        "import duckdb\nfrom duckdb_extensions import import_extension\n"
        "import_extension('httpfs'); import_extension('aws')\n"
        "db = duckdb.connect()\n"
        "db.sql('LOAD httpfs'); db.sql('LOAD aws')\n"
        "db.sql(f\"SET ca_cert_file = '{os.environ['SSL_CERT_FILE']}'\")\n"
        "db.sql(f\"CREATE SECRET (TYPE s3, PROVIDER credential_chain, CHAIN 'env', REFRESH auto,"
        " ENDPOINT '{os.environ['AWS_S3_ENDPOINT']}', URL_STYLE 'path')\")\n"
        "db.sql(\"SELECT count(*), max(passengers) FROM 's3://alice/private/airports.parquet'\").fetchone()",
        r"^\(5000, 4999\)$",
    ),
    "shell-from-a-cell": ("!aws s3 ls s3://alice/diffusion/", r"airports\.csv"),
    "secret": ("os.environ['PATATE_TOKEN']", None),
    "secret-port": ("os.environ['PATATE_PORT']", r"^'8443'$"),
}

#: What a person types in a terminal, and what it must then show.
SHELL = {
    "mc-ls": ("mc ls s3/alice/", r"a\.csv"),
    "mc-cp": ("mc cp s3/alice/a.csv . && wc -l a.csv", r"5001 a\.csv"),
    "mc-cp-up": ("mc cp a.csv s3/alice/up/ && mc ls s3/alice/up/", r"a\.csv"),
    "aws-s3-ls": ("aws s3 ls", r"\d alice$"),
    "aws-s3-cp": ("aws s3 cp s3://alice/a.csv b.csv && cmp a.csv b.csv && echo same", r"same$"),
    "env-aws": ("env | grep AWS | cut -d= -f1 | sort", r"AWS_ACCESS_KEY_ID(.|\n)*AWS_SESSION_TOKEN"),
    "rclone": ("rclone lsf s3:alice/diffusion", r"airports\.csv\nairports\.parquet"),
    "curl-trusts-storage": (
        "curl -s -o /dev/null -w '%{http_code}\\n' https://$AWS_S3_ENDPOINT/alice/private/airports.csv",
        r"^403$",
    ),
    "python": ("python -c \"import os; print(len(os.environ['AWS_SESSION_TOKEN']) > 100)\"", r"^True$"),
    "secret": (
        '[ "$PATATE_TOKEN" = "$(python -c \'import os; print(os.environ["PATATE_TOKEN"])\')" ] && echo equal',
        r"^equal$",
    ),
    "secret-port": ("echo $PATATE_PORT", r"^8443$"),
    "work-directory": ("pwd", r"/work$"),
}

#: What bob, in his own session, may and may not do with what is alice's.
BOB = {
    "private-object": (
        "pd.read_csv('s3://alice/private/airports.csv')",
        r"PermissionError|AccessDenied|Forbidden",
    ),
    "private-listing": (
        "boto3.client('s3').list_objects_v2(Bucket='alice', Prefix='private/')",
        r"AccessDenied",
    ),
    "write": ("boto3.client('s3').put_object(Bucket='alice', Key='diffusion/x', Body=b'x')", r"AccessDenied"),
    "diffusion": ("len(pd.read_csv('s3://alice/diffusion/airports.csv'))", r"^5000$"),
    "diffusion-parquet": ("pl.read_parquet('s3://alice/diffusion/airports.parquet').height", r"^5000$"),
    "shared-bucket": ("len(pd.read_csv('s3://shared/airports.csv'))", r"^5000$"),
    "secret-not-his": ("'PATATE_TOKEN' in os.environ", r"^False$"),
}


def start_session(stack: Stack, page: Page, name: str, screenshots: Path, *secrets: str) -> Lab:
    """Sign in, choose jupyter-python, launch, and wait for JupyterLab, as a person does."""
    SignIn(page, stack.url).sign_in(name, PASSWORD)
    form = LaunchForm(page, stack.url, name)
    form.open()
    form.choose_service("Jupyter Python")
    for secret in secrets:
        form.choose_secret(secret)
    screenshot(page, screenshots, f"launch-form-{name}")
    form.launch()
    lab = form.wait_for_lab()
    lab.use_screen_reader()
    return lab


@pytest.fixture(scope="module")
def lab(stack: Stack, minio_client: Path, new_window: NewWindow, screenshots: Path) -> Lab:
    """Alice's JupyterLab, with the secret projet_patate."""
    person = stack.person("alice")
    body = {"values": {"PATATE_TOKEN": TOKEN, "PATATE_PORT": "8443"}}
    answer = person.api("PUT", "datalab/v1/secrets/projet_patate", json=body)
    assert answer.status_code == 200, answer.text
    return start_session(stack, new_window(), "alice", screenshots, "projet_patate")


@pytest.fixture(scope="module")
def notebook(lab: Lab) -> Notebook:
    """Alice's notebook, with the files made."""
    notebook = lab.new_notebook()
    printed = notebook.run(MAKE_FILES.strip())
    assert "'alice/a.csv', 'alice/diffusion', 'alice/private'" in printed
    return notebook


@pytest.fixture(scope="module")
def terminal(lab: Lab, notebook: Notebook) -> Terminal:
    """Alice's terminal, beside her notebook."""
    return lab.new_terminal()


@pytest.fixture(scope="module")
def bobs_notebook(
    stack: Stack, new_window: NewWindow, screenshots: Path, notebook: Notebook
) -> Iterator[Notebook]:
    """A notebook of bob, after alice made her files."""
    page = new_window()
    bobs = start_session(stack, page, "bob", screenshots).new_notebook()
    bobs.run("import os, boto3, pandas as pd, polars as pl")
    yield bobs
    screenshot(page, screenshots, "bob-notebook")


@pytest.mark.parametrize("line", PYTHON)
def test_python(notebook: Notebook, screenshots: Path, line: str) -> None:
    code, expected = PYTHON[line]
    printed = notebook.run(code)
    if expected is None:
        assert printed == repr(TOKEN)
    else:
        assert re.search(expected, printed), printed
    screenshot(notebook.page, screenshots, "alice-notebook")


@pytest.mark.parametrize("line", SHELL)
def test_shell(terminal: Terminal, screenshots: Path, line: str) -> None:
    typed, expected = SHELL[line]
    printed = terminal.run(typed)
    screenshot(terminal.page, screenshots, f"alice-terminal-{line}")
    assert re.search(expected, printed, re.MULTILINE), printed


@pytest.mark.parametrize("line", BOB)
def test_bob(bobs_notebook: Notebook, line: str) -> None:
    code, expected = BOB[line]
    printed = bobs_notebook.run(code)
    assert re.search(expected, printed), printed
