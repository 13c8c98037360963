"""Extension of griffe, named in mkdocs.yml: our section ``Example:`` is its ``Examples:``, which shows code as code."""

import re
from typing import Any

import griffe

SECTION = re.compile(r'^Example:$', re.MULTILINE)


class ExampleSections(griffe.Extension):
    """Renames the section in every docstring."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rename the section of one object."""
        if obj.docstring:
            obj.docstring.value = SECTION.sub('Examples:', obj.docstring.value)
