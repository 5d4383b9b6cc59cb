"""What a project's own tests are built on: its rows, a model of its recipe, and checks of both.

`checks` has the checks, `samples` the rows and the model that they look at, `rows` makes rows from schema.yaml alone.
"""

from modelyard.testing import checks
from modelyard.testing.rows import make_rows
from modelyard.testing.samples import fit_model, load_rows, load_table_path, make_schema_rows

__all__ = ["checks", "fit_model", "load_rows", "load_table_path", "make_rows", "make_schema_rows"]
