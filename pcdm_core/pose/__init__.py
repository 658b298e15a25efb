"""People's poses: key points, file formats and the skeleton pictures that the models see."""
