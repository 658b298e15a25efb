"""The published weights for photographs: which files they are, and how they get into place.

`table` reads `files.json`, the one list of files; `search` finds them in folders; `place` and
`verify` put them where they are looked for and check them; `download` alone asks the network, and
is not part of the registry's archive; `commands` is `pcdm models`.
"""
