"""What a stage sees of pictures, by row number.

`protocol` says what a stage may ask for and computes it on line; `store` keeps tables of features
in Arrow files; `cached` fills these tables once and reads them at every step.
"""
