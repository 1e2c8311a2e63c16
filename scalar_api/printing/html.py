"""The invoice as one HTML page that needs nothing from outside. What customers have named is escaped."""

from functools import cache

import jinja2

from scalar_api.printing.document import Document

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""No script, picture or font, whatever a name holds."""


def html(doc: Document) -> str:
    return _template().render(doc=doc)


@cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("scalar_api.printing", package_path="")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template("invoice.html.jinja")
