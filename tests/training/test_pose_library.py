"""The pose library is what its recipes give."""

import json

from pcdm_core.pose.editor import LIBRARY_FILE
from training.tools.make_pose_library import make


def test_the_shipped_library_is_made_by_the_recipes() -> None:
    shipped = json.loads(LIBRARY_FILE.read_text(encoding="utf-8"))
    document = make()
    assert [pose["name"] for pose in document["poses"]] == [
        pose["name"] for pose in shipped["poses"]
    ]
    for new, old in zip(document["poses"], shipped["poses"], strict=True):
        pairs = zip(new["pose_keypoints_2d"], old["pose_keypoints_2d"], strict=True)
        # Pixels were rounded: another processor may round one of them the other way.
        assert max(abs(a - b) for a, b in pairs) <= 1, new["name"]
