"""The small pictures of examples/README.md, in docs/gallery/, made from what the examples have written into out/.

    python tests/gallery_pictures.py

Run the examples first; one whose picture is not in out/ keeps the small one that it has.
"""

import io
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
GALLERY = ROOT / "docs" / "gallery"
WIDEST, HIGHEST, COLOURS = 720, 560, 128  # pixels, and colours of the palette
MOST = 120_000  # bytes
SHOWN = {"lecture": "lecture_6_ingredients.png", "sample_and_network": "network.png", "head_in_pictures": "second_neuron.png",
         "neurons_moving": "neurons_moving.gif", "linear_noise": "band.png"}  # where the picture has not the name of the example


def small(path):
    """A picture, of an animation the one in the middle, as the bytes of a small PNG."""
    with Image.open(path) as image:
        image.seek(getattr(image, "n_frames", 1) // 2)
        picture = image.convert("RGB")
    scale = min(1, WIDEST / picture.width, HIGHEST / picture.height)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "png", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    GALLERY.mkdir(exist_ok=True)
    for example in sorted(path.stem for path in (ROOT / "examples").glob("*.py")):
        picture = ROOT / "out" / SHOWN.get(example, f"{example}.png")
        if picture.exists():
            content = small(picture)
            assert len(content) <= MOST, example
            (GALLERY / f"{example}.png").write_bytes(content)
            print(f"{example}: {len(content)} bytes")
