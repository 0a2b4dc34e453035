"""Files from strangers: none ends the process, and what a reader makes of each is known.

What may crash is read in one child process, with simplejpeg and with Pillow alone.
"""

import json
import os
import pickle
import struct
import subprocess
import sys

import pytest
from image_files import jpeg, segment

READ_ALL = """
import json, pickle, sys, warnings
import numpy as np
from sklearn_cnn import ImageReader
from sklearn_cnn.files import decode as decoder

warnings.simplefilter("ignore")  # which name the files that are skipped
for module in (decoder.simplejpeg, None):
    decoder.simplejpeg = module
    for name, content, options in pickle.load(open(sys.argv[1], "rb")):
        print(json.dumps(["reads", name]), flush=True)
        try:
            pixels = ImageReader(**options).transform([content])
            result = sorted({int(pixels.min()), int(pixels.max())})
        except ValueError as error:
            result = str(error).splitlines()[1]
        print(json.dumps(["result", module is not None, name, result]), flush=True)
"""


def read_in_child(cases, tmp_path):
    """Return what each case gives, by simplejpeg and by Pillow: its extremes, or why it is refused.

    Cases are tuples of a name, the bytes of a file and the options of the reader.
    """
    path = tmp_path / "cases"
    path.write_bytes(pickle.dumps(cases))
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, os.fspath(path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{done.returncode} at {lines[-1:]}: {done.stderr}"
    fast, plain = ({x[2]: x[3] for x in lines if x[:2] == ["result", way]} for way in (True, False))
    return fast, plain


GRAY, COLOUR = ((1, 1),), ((1, 1), (1, 1), (1, 1))
HALVED = ((2, 2), (1, 1), (1, 1))
BLOCKS = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
LOSSLESS, ARITHMETIC = 0xC3, (0xC9, 0xCA)
DECODED_BY_NOBODY = (0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF)


def test_jpeg_files_that_cannot_be_shrunk_while_they_are_decoded(tmp_path):
    """Would catch a decoder that gets memory for an eighth of the pixels and writes all of them."""
    pytest.importorskip("simplejpeg")
    middle, refused, other = [], [], []

    def add(cases, name, content):
        for size, mode in ((64, "L"), (1, "L"), ((5, 9), "RGB")):
            for on_error in ("raise", "skip") if cases is middle else ("raise",):
                options = {"size": size, "mode": mode, "on_error": on_error}
                cases.append((f"{name}, {options}", content, options))

    for sampling in (GRAY, COLOUR, HALVED, ((1, 4), (1, 1), (1, 1)), ((4, 2), (1, 1), (1, 1))):
        for width, height in ((256, 256), (1, 1), (16, 1000), (129, 511)):
            add(middle, f"{sampling} {width} {height}", jpeg(width, height, LOSSLESS, sampling))
        for marker, name in BLOCKS.items():
            for interleaved in (True, False):
                content = jpeg(256, 256, marker, sampling, interleaved=interleaved)
                add(middle, f"{name} {sampling} {interleaved}", content)
        for marker in ARITHMETIC:
            add(other, f"{marker:x} {sampling}", jpeg(256, 256, marker, sampling))
    hidden = segment(0xE5, b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 256, 256, 1) + bytes(3))
    for name, before in {
        "after fill bytes": b"\xff" * 5,
        "after a marker without length": b"\xff\xd0",
        "after garbage": segment(0xFE, b"") + b"garbage\xff\x00",
        "after what looks like a frame": hidden,
        "after tables": segment(0xDB, b"\1" + b"\1" * 64) * 3,
    }.items():
        add(middle, name, jpeg(256, 256, LOSSLESS, before=before))
    b = b"\xff\xd8" + segment(0xC3, struct.pack(">BHHB", 8, 256, 256, 1) + b"\1\x11\0")
    b += segment(0xC4, b"\0\1" + bytes(16)) + segment(0xDA, b"\1\1\0\1\0\0") + bytes(8192)
    add(middle, "the smallest, made by hand", b + b"\xff\xd9")
    add(middle, "depend on the other images", jpeg(256, 256, LOSSLESS) + jpeg(256, 256))
    for bits in (2, 7, 10, 12, 16):
        add(refused, f"{bits} bits", jpeg(256, 256, LOSSLESS, bits=bits))
        add(refused, f"{bits} bits, baseline", jpeg(256, 256, bits=bits))
    for marker in DECODED_BY_NOBODY:
        for sampling in (GRAY, COLOUR):
            add(refused, f"{marker:x} {sampling}", jpeg(256, 256, marker, sampling))
    for name, content in {
        "two components": jpeg(256, 256, sampling=GRAY * 2),
        "no lines": jpeg(256, 0, LOSSLESS),
        "two frames": jpeg(256, 256, before=segment(0xC3, bytes([8, 1, 0, 1, 0, 1, 1, 17, 0]))),
        "hierarchical": jpeg(256, 256, before=segment(0xDE, bytes([8, 1, 0, 1, 0, 1, 1, 17, 0]))),
    }.items():
        add(refused, name, content)
    fast, plain = read_in_child([*middle, *refused, *other], tmp_path)
    assert fast == plain
    assert {name: fast[name] for name, *_ in middle} == {name: [128] for name, *_ in middle}
    assert all(isinstance(fast[name], str) for name, *_ in refused)
    assert all(isinstance(fast[name], list) for name, *_ in other)
