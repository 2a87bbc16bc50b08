"""The scenario language, the labs that run it, expectations and reports.

``language`` turns files into compiled scenarios, ``virtual`` runs them as history, ``checks``
judges the history.  Nothing imports this package.
"""
