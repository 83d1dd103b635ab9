"""`receiver demo`: a small shop, and providers that call it.

Reading order: `shop` (the handlers: an example of what a merchant writes), `traffic` (what the providers send),
`tour` (sends it and waits until all is quiet), `figures` (reads back what became of it), `command`.
"""
