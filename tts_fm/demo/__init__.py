"""The Gradio demo in the browser: clone a voice, speak a script or a list, change a recording. `tts-fm demo`, or
`python demo/app.py`.

service.py holds what the pages do, without any Gradio; commands.py reads scripts and lists; figures.py draws;
widgets.py is what the pages (tabs_*.py) share; app.py puts them together. Importing this imports neither gradio nor
torch.
"""
