"""These pages as a site: `pip install '.[docs]'`, then `sphinx-build -W docs out/site` from the top of the repository.

The pages are the Markdown files beside this one, in the order of index.md, and the examples with their pictures. Nothing is
written here that stands elsewhere: the order is read from index.md's list, and the gallery's from examples/README.md. Copies of
the README and of the examples, with what Sphinx asks for, go into generated/ and _build/, which are not kept. No example is run.
"""

import re
import shutil
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
COPIES = DOCS / "_build" / "examples"

project = "simsim"
author = "the authors of simsim"
version = release = re.search(r'__version__ = "(.*)"', (ROOT / "simsim/__init__.py").read_text(encoding="utf-8"))[1]
extensions = ["myst_parser", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
sphinx_gallery_conf = {
    "examples_dirs": str(COPIES), "gallery_dirs": "generated/gallery", "plot_gallery": False, "download_all_examples": False,
    "within_subsection_order": "FileNameSortKey", "show_signature": False, "write_computation_times": False,
    "remove_config_comments": True,
}


def as_rst(text):
    """Text of a docstring, in which no sign but backquotes means anything to reStructuredText."""
    return re.sub(r"([\\*|_])", r"\\\1", text).replace("`", "``")


def copy_examples():
    """The examples as Sphinx-Gallery wants them: in their order by name, the docstring with a heading, a picture."""
    page = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    shutil.rmtree(COPIES, ignore_errors=True)
    COPIES.mkdir(parents=True)
    intro = re.match(r"# ([^\n]*)\n\n(.*?)\n\n##", page, re.DOTALL)
    (COPIES / "GALLERY_HEADER.rst").write_text(f"{intro[1]}\n{'=' * len(intro[1])}\n\n{as_rst(intro[2])}\n", encoding="utf-8")
    for place, name in enumerate(dict.fromkeys(re.findall(r"\((\w+)\.py\)", page))):
        _, docstring, code = (ROOT / f"examples/{name}.py").read_text(encoding="utf-8").split('"""', 2)
        title, _, rest = docstring.partition("\n")
        head = f"{as_rst(title.rstrip('.'))}\n{'=' * 2 * len(title)}\n{as_rst(rest)}"
        picture = DOCS / "gallery" / f"{name}.png"
        thumbnail = f"# sphinx_gallery_thumbnail_path = 'gallery/{name}.png'\n" if picture.exists() else ""
        code = re.sub(r"^# %%.*$", "#", code, flags=re.MULTILINE)
        (COPIES / f"{place + 1:02}_{name}.py").write_text(f'r"""{head}"""\n{thumbnail}{code.lstrip()}', encoding="utf-8")


def copy_readme():
    """README.md as a page among the others; what it links to beside itself is no page of the site, and keeps its name alone."""
    page = (ROOT / "README.md").read_text(encoding="utf-8").replace("(examples/README.md)", "(gallery/index.rst)")
    (DOCS / "generated").mkdir(exist_ok=True)
    moved = re.sub(r"\]\(docs/", "](../", re.sub(r"\[([^\]]+)\]\([A-Z][\w.]+\)", r"\1", page))
    (DOCS / "generated/readme.md").write_text(moved, encoding="utf-8")


def joined(app, docname, source):
    """A page with the links that lead out of docs/ turned to the copies; index.md with the tree of pages that its list is."""
    text = source[0].replace("../examples/README.md", "generated/gallery/index.rst").replace("../README.md", "generated/readme.md")
    text = re.sub(r"\[([^\]]+)\]\(\.\./[A-Z][\w.]+\)", r"\1", text)
    if docname == "index":
        pages = re.findall(r"^\d+\. \[[^\]]+\]\((\S+)\.md\)", text, re.MULTILINE)
        text += "\n".join(["", "```{toctree}", ":hidden:", "", *pages, "generated/gallery/index", "```", ""])
    source[0] = text


copy_readme()
copy_examples()


def setup(app):
    app.connect("source-read", joined)
