"""Files of rows for tests, and what a reader makes of them."""

import json

from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import read_rows

SCHEMA = RowSchema(label="label")
SENTIMENT = RowSchema(label="label", labels=("0", "1"))


def write(path, content):
    """Write text or bytes; gives the path."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(path, *records):
    """Write one JSON object a line."""
    return write(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))


def texts(location, schema=SCHEMA, **options):
    """Text and label of each row."""
    return [(row.text, row.label) for row in read_rows(location, schema, **options)]
