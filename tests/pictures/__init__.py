"""Pictures of every page and mail, taken in a running demo: `make pictures`.

__main__  opens the demo twice, and writes the sheets to docs/pictures
tour      who visits which pages, in which order
camera    takes a page's picture at a width, in a light
sheet     many pictures on one, with their names, as a small file
"""
