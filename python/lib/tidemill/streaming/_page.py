"""The address of the page of a job."""

from __future__ import annotations


class Page(str):
    """An address that a notebook shows as a link."""

    def open(self, in_notebook: bool) -> Page:
        """Opens it in a browser, unless a notebook shows it. Returns it."""
        if not in_notebook:
            import webbrowser

            webbrowser.open(self)
        return self

    def _repr_html_(self) -> str:
        return f'<a href="{self}" target="_blank">{self}</a>'
