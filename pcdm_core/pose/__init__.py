"""People's poses: key points, file formats and the skeleton pictures that the models see.

`keypoints.py` is the value and names the joints, `bones.py` says how they hang together.
`render.py` draws skeletons (`raster.py` the shapes), `skeleton_image/` reads drawings back,
`formats/` reads and writes pose files, `detect/` finds people in photographs, and `read_any.py`
takes whichever of these a file needs. `retarget.py` and `interpolate.py` change poses,
`describe.py` and `pck.py` judge them.
"""
