"""How coefficients are found; `tables/` has what they are for, in files of the same names.

`python -m cupylut.fitting` makes the files in `data/` again. Of this, `tabulate` needs only
`polynomial.py` and what that imports, where there is no file or an `error=` is asked for.
"""
