"""The Python interface behind `import autolabel`: a thin layer over the functions that the commands call.

Nothing here prints, and every expected error is one of `autolabel.errors`.
"""
