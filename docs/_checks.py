"""MkDocs hook: what is read on the site comes from the site. A page that would fetch a script, a style, a font or a
picture from elsewhere is a warning, and so an error in the strict build."""

import logging
import re
from pathlib import Path

ELSEWHERE = r"=[\"']?(https?:)?//"
FETCHED = re.compile(
    rf"<(script|img|iframe|source)\b[^>]*\bsrc{ELSEWHERE}|<link\b[^>]*stylesheet[^>]*\bhref{ELSEWHERE}"
)
DRAWN_BY_SCRIPT = re.compile(r"class=[\"']?mermaid")
log = logging.getLogger("mkdocs.hooks.checks")


def on_post_build(config):
    """Reads every page that was written."""
    site = Path(config.site_dir)
    for path in sorted(site.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        for pattern in (FETCHED, DRAWN_BY_SCRIPT):
            if match := pattern.search(text):
                log.warning("%s fetches from elsewhere when it is read: %s", path.relative_to(site), match.group())
    for path in sorted(site.glob("assets/**/*.css")):
        if re.search(r"url\([\"']?(https?:)?//|@import", path.read_text(encoding="utf-8")):
            log.warning("%s fetches from elsewhere when it is read", path.relative_to(site))
