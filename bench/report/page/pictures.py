"""Pictures as they stand in the page."""

from __future__ import annotations

from dataclasses import dataclass

from bench.report.page.elements import Html, element


@dataclass(frozen=True)
class Picture:
    """One picture of a board, or of all boards together."""

    name: str
    board: str | None
    title: str
    about: str  # what it shows, in a sentence or two
    svg: str

    def html(self) -> Html:
        """A figure whose text a screen reader finds in its caption."""
        inner = Html(self.svg.replace("<svg", f'<svg role="img" aria-label="{element("i", self.title)[3:-4]}"', 1))
        caption = element("figcaption", element("strong", f"{self.title}. "), self.about)
        return element(
            "figure",
            element("div", inner, class_="scroll-inner"),
            caption,
            class_="picture",
            id=f"picture-{self.name}-{self.board or 'all'}",
        )
