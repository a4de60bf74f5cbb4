"""A text of any length becomes an audiobook: read, cut into chapters and paragraphs, spoken once, written out.

read.py knows the forms of files (epub.py, epub_book.py, html.py, cues.py), structure.py finds chapters and what is not
spoken, scripts.py who says it; plan.py makes the units that are spoken, speak.py keeps them, write.py and overlay.py
make the book of them. It knows nothing of the command line, and no torch.
"""
